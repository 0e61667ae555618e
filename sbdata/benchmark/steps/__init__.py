"""What each kind of task of the bench does, given its inputs and the folder for its result.

Each module is where a task's code begins: its fingerprint covers all that the module can reach, and
nothing else. So none of them imports the bench, which knows all of them.
"""
