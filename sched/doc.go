// Package sched runs goroutines one at a time, as a strategy decides, so that a test finds
// faults that need a particular interleaving, shrinks them to their last preemption and
// replays them. docs/scheduling.md says how to use it and what it does not see.
//
// A run has a body, which is its first task; whatever it starts are tasks too:
//
//	report := sched.Explore(t, sched.Options{}, 1000, sched.Random(1), func(s *sched.Scheduler) error {
//		s.Go("client", func() { ... })
//		...
//	})
//
// Words: a task is a goroutine under control; a point is a place where it stops until it is
// chosen; a gate is what it waits at; a decision is a choice between tasks, or a task and
// letting time pass; a schedule is the choices of a run that were not the simplest.
//
// Points are placed by hand (Point), or by package rewrite in copies of packages, which
// then use the drop-ins below sched/shim.
//
// The root is the goroutine that called Run. It decides when all goroutines of the bubble
// are at rest. A task that reaches a point decides itself, without a switch to the root,
// if no other goroutine can be on its way to a gate; the result is the same.
//
// Scheduler, Task and their fields are guarded by one lock that is held briefly. Methods
// of Scheduler and Task are for tasks of the run; Report, Result, Schedule and Trace belong
// to whoever got them.
package sched
