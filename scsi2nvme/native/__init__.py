"""The native data plane, bound: the only package that calls it, a module for each header.

Classes own native handles and free them in `close()`. Whoever knows a layer knows its
binding: `transport` is for everybody who gives or takes a controller; `nvme`, `emulator`,
`qtest` and `vfio` are the drivers'; `plane` and `hot` the program's; `iscsi` and `tcmu`
each its front end's. Threads: everything here belongs to the thread that runs the asyncio
loop, but for `QtestPort.command`, `Emulator.erase` and `crc32c`.
"""
