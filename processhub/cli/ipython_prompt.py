"""IPython's prompt. It waits for input in an asyncio loop, which calls an input hook of ours meanwhile."""

from __future__ import annotations

from typing import Any, Final

import gevent
from IPython.core.completer import SimpleCompletion, context_matcher
from IPython.terminal import pt_inputhooks
from IPython.terminal.embed import InteractiveShellEmbed

from processhub.cli.completion import Ids, open_string

_NAME: Final = "processhub"


def run_ipython(names: dict[str, Any], banner: str, ids: Ids) -> None:
    """Give IPython's prompt until the end of the input."""
    pt_inputhooks.register(_NAME, run_loop_until_input)
    shell = InteractiveShellEmbed(banner1=banner + "\n", user_ns=names)
    shell.enable_gui(_NAME)
    shell.Completer.use_jedi = False  # it reads sources for a second or more, and holds the node's loop meanwhile

    shell.Completer.custom_matchers.append(_matcher(ids))
    shell(local_ns=names)


def _matcher(ids: Ids) -> Any:
    """Inside a string it offers ids, and keeps IPython from offering its commands there."""

    @context_matcher()  # type: ignore[untyped-decorator]
    def complete_ids(context: Any) -> Any:
        line = context.text_until_cursor
        found = [SimpleCompletion(one, type="id") for one in ids.candidates(line)]
        return {"completions": found, "matched_fragment": open_string(line) or "", "suppress": bool(found)}

    return complete_ids


def run_loop_until_input(context: Any) -> None:
    """Run the event loop until a key is pressed; `context` is prompt_toolkit's `InputHookContext`."""
    watcher = gevent.get_hub().loop.io(context.fileno(), 1)
    try:
        gevent.get_hub().wait(watcher)
    finally:
        watcher.close()
