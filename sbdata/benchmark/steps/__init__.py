"""Steps of the bench: the work of each kind of task, from its inputs and its output folder.

Each module is the entry point of a task's code: its fingerprint covers exactly what the module can
reach. So none of them imports the bench, which imports all of them.
"""
