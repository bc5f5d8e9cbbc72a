package sched

import (
	"sync"
	"sync/atomic"

	"github.com/poolproof/poolproof/sched/internal/goid"
)

// registry knows which goroutines are tasks, and of which run.
//
// It is the one package-level variable that changes, and it has to be one: a mutex of an
// instrumented package is used by code that knows nothing of a scheduler and can hand it
// none, so the only way from there to the run is the identity of the calling goroutine. It
// holds nothing of a run that has ended.
var registry = struct {
	runs atomic.Int32 // so that without a run nothing is locked or looked up

	mu      sync.RWMutex
	tasks   map[int64]*Task      // by goroutine; nil for one that is known to be no task
	bubbles map[int64]*Scheduler // by bubble
}{tasks: map[int64]*Task{}, bubbles: map[int64]*Scheduler{}}

// mostStrangers is how many goroutines are remembered to be no tasks.
const mostStrangers = 1000

// Here returns the task that the calling goroutine is, or nil if it is under no
// scheduler's control: then the caller does as it would without one. A goroutine in the
// bubble of a run that was not started through Go becomes a task here; the one that
// called Run never does.
func Here() *Task {
	if registry.runs.Load() == 0 {
		return nil
	}
	id := goid.Get()
	registry.mu.RLock()
	t, known := registry.tasks[id]
	registry.mu.RUnlock()
	if known {
		return t
	}
	return adopt(id)
}

// adopt makes the calling goroutine, which has that number, a task if it is in the bubble
// of a run. If it was started by a task, it is that task's child.
func adopt(id int64) *Task {
	registry.mu.RLock()
	from := registry.tasks[goid.Parent()]
	registry.mu.RUnlock()
	if from != nil { // a goroutine stays in the bubble of the one that started it
		return from.s.adopt(id, from)
	}
	bubble := goid.Bubble()
	registry.mu.Lock()
	s := registry.bubbles[bubble]
	if s == nil {
		if len(registry.tasks) > mostStrangers {
			for id, t := range registry.tasks {
				if t == nil {
					delete(registry.tasks, id)
				}
			}
		}
		registry.tasks[id] = nil
		registry.mu.Unlock()
		return nil
	}
	registry.mu.Unlock()
	return s.adopt(id, nil)
}

// enroll makes the calling goroutine known as t.
func enroll(id int64, t *Task) {
	registry.mu.Lock()
	registry.tasks[id] = t
	registry.mu.Unlock()
}

// dismiss forgets a goroutine.
func dismiss(ids ...int64) {
	registry.mu.Lock()
	for _, id := range ids {
		delete(registry.tasks, id)
	}
	registry.mu.Unlock()
}

// open makes the calling goroutine's bubble that of s and the goroutine its root. It
// returns a function that undoes it, and false if that bubble has a run already or the
// caller is in none.
func (s *Scheduler) open() (done func(), ok bool) {
	id, bubble := goid.Get(), goid.Bubble()
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if bubble == 0 || registry.bubbles[bubble] != nil {
		return nil, false
	}
	registry.runs.Add(1)
	registry.bubbles[bubble] = s
	registry.tasks[id] = nil
	return func() {
		registry.mu.Lock()
		defer registry.mu.Unlock()
		delete(registry.bubbles, bubble)
		delete(registry.tasks, id)
		for _, id := range s.goids {
			delete(registry.tasks, id)
		}
		if registry.runs.Add(-1) == 0 {
			clear(registry.tasks)
		}
	}, true
}
