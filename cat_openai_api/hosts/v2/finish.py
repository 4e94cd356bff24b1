"""Whether an agent of Cheshire Cat 2 may change its result after its LLM has written the reply."""

from typing import TYPE_CHECKING, Any

from ..detect import IS_CAT_2

if IS_CAT_2 or TYPE_CHECKING:
    from cat.ambient.runtime import ccat
    from cat.services.agents.base import Agent
    from cat.services.directives.base import Directive


def finishes_by_itself(agent: Any) -> bool:
    """Whether the agent or one of its directives has a `finish` of its own, where they may edit `agent.result`.

    An agent that resolves its directives itself may have any.
    """
    kind = type(agent)
    if kind.__call__ is not Agent.__call__ or kind._resolve_directives is not Agent._resolve_directives:
        return True
    return _differs(agent, Agent.finish) or any(
        _differs(directive, Directive.finish) for directive in map(_resolved, agent.directives)
    )


def _resolved(directive: Any) -> Any:
    """The class of a directive that is given by its slug: the one that the Cat makes for the run."""
    if isinstance(directive, str):
        return ccat().registry.classes.get("directives", {}).get(directive)
    return directive


def _differs(owner: Any, inherited: Any) -> bool:
    """`owner`: an object or class with a method `finish`. A function that uses no name at all can change nothing."""
    finish = getattr(owner, "finish", inherited)
    function = getattr(finish, "__func__", finish)
    if function is inherited:
        return False
    code = getattr(function, "__code__", None)
    return code is None or bool(code.co_names or code.co_freevars)
