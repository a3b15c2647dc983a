"""Tools, and the loop in which a model uses them: `kwen.Agent`."""

from kwen.agent.events import Event
from kwen.agent.loop import Agent
from kwen.agent.run import Run
from kwen.agent.tool import File, Tool, ToolResult

__all__ = ["Agent", "Event", "File", "Run", "Tool", "ToolResult"]
