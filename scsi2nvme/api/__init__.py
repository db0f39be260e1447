"""The control API: JSON-RPC 2.0 over the daemon's local socket.

`methods` is the table of what can be asked, `schema` what other programs are told of it, `rpc`
the messages. The daemon answers, `scsi2nvme.client` asks; a new method is one record, and the
daemon's answer to it.
"""

VERSION = "1.1"  # as semantic versions have it: what only adds raises the minor number
