"""What is set apart is in no caller's module: the core's machine code is there once."""

from __future__ import annotations

import pytest

from engine.core import step as core
from engine.jit import JIT
from engine.run.bind import bind
from engine.run.rehearse import rehearse
from tests.run.engine_peers import make_config

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(not JIT, reason="nothing is compiled")]


@pytest.fixture(scope="module")
def bound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = make_config(folder / "run", folder)
    made = bind(config.routing.strategy)
    rehearse(config, made, 1)
    return made


@pytest.mark.parametrize("name", ["step", "pump.pump", "loop.run_loop"])
def test_a_caller_holds_a_call_and_not_the_code(bound, name):
    dispatcher = bound
    for part in name.split("."):
        dispatcher = getattr(dispatcher, part)
    for overload in dispatcher.overloads.values():
        text = overload.library.get_llvm_str()
        assert "declare" in text
        for kernel in (core.begin, core.apply):
            symbol = f'@"tickroute.engine.core.step.{kernel.__name__}"'
            assert text.count(f"{symbol}(") >= 1
            assert not [line for line in text.splitlines() if line.startswith("define") and symbol in line]
        assert "on_position_load" not in text

