"""Signals in, contentions and suspects out.  Decides; never touches a task.

sources → Frame → filters → Frame → detectors → Contention → strategy → Suspect
"""
