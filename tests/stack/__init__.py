from tests.stack.servers import StackError
from tests.stack.stack import Stack

__all__ = ("Stack", "StackError")
