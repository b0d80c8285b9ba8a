"""The results store: output, increments and history, in a database of the operator's choice.

`rows`, `events` and `keys` are pure values; `interface` is the contract; one module for each kind of database
fulfils it; `thread` keeps all of it away from the broker's loop. Nothing here knows what a broker decides.
"""
