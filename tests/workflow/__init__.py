"""Tests of workflows: what is declared, verified and explored."""
