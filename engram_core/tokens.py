"""temporary"""
import os
from engram_core.kernel.bpe import Counter
_C={}
class Tokenizer:
    def __init__(self,name):
        self.name=name; self._c=Counter(os.path.join(os.path.dirname(__file__),"vocab",name+".bpe"),name.split("_")[0])
    def count(self,t): return self._c.count(t)
def get(name):
    if name not in _C: _C[name]=Tokenizer(name)
    return _C[name]
