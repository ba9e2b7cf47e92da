"""The core and its memory: records, workflows, bytes in and out, state and steps, the loop."""
