"""nvme-cli's verbs that send commands: a row each, in the table of one of these modules.

What a verb does is a conversation, a generator: it yields what is to be asked of the controller
and gets the answer, and returns what is shown. It does not know who asks: the daemon of a state
directory, or this process, which has opened the controller.
"""
