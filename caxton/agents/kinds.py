"""TEMPORARY overlay by the lead to test the engine; helper-3 owns and overwrites this file."""
import importlib.util
from pathlib import Path
class Services:
    def __init__(self, config, tools): self.config=config; self.tools=tools
    async def close(self): pass
class _B:
    concurrency=8
    def __init__(self,obj): self.obj=obj
    async def start(self): pass
    async def close(self): pass
    def handle(self,m,c):
        from caxton.agents.behaviour import Outgoing
        from caxton.message import Performative
        r=self.obj.handle(m,c)
        return () if r is None else (Outgoing(Performative.INFORM, r.encode()),)
def make_behaviour(definition, path, services):
    mod,_,cls=definition.python.partition(":")
    spec=importlib.util.spec_from_file_location(mod, Path(path).parent/f"{mod}.py")
    m=importlib.util.module_from_spec(spec); spec.loader.exec_module(m)
    return _B(getattr(m,cls)())
