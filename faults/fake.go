package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// errFakeDead is why a fake answers nothing any more.
var errFakeDead = errors.New("faults: the fake worker is dead")

// errFakeAway is why a call of a fake did not come to its end.
var errFakeAway = errors.New("faults: the caller left amid a call")

// fake is a worker that lives in memory, with the methods of a run (see methods).
type fake struct {
	id     pool.WorkerID
	gone   chan struct{} // closed when it is dead
	retire func(pool.WorkerID, error)

	mu     sync.Mutex
	state  map[string]json.RawMessage // guarded by mu, by session
	frozen chan struct{}              // guarded by mu: closed when it goes on; nil: it is not frozen
	delay  time.Duration              // guarded by mu: of each answer
	dead   bool                       // guarded by mu
	owing  bool                       // guarded by mu: a call was left
	calls  int                        // guarded by mu: calls that have met a freeze or delay
}

func newFake(id pool.WorkerID, retire func(pool.WorkerID, error)) *fake {
	return &fake{id: id, gone: make(chan struct{}), retire: retire, state: make(map[string]json.RawMessage)}
}

// ID returns the incarnation.
func (f *fake) ID() pool.WorkerID { return f.id }

// Instance names the incarnation.
func (f *fake) Instance() string { return fmt.Sprintf("fake %d", f.id) }

// Methods returns what a run calls.
func (f *fake) Methods() []string {
	return []string{methodEcho, methodGet, methodPut, process.MethodSessionEnded}
}

// Ping answers while the worker is alive and not frozen.
func (f *fake) Ping(ctx context.Context) error { return f.meet(ctx) }

// meet waits as long as the worker makes its caller wait.
func (f *fake) meet(ctx context.Context) error {
	f.mu.Lock()
	frozen, delay := f.frozen, f.delay
	if frozen != nil || delay > 0 {
		f.calls++
	}
	f.mu.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-f.gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-f.gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case <-f.gone:
		return errFakeDead
	default:
		return nil
	}
}

// Call answers a method.
func (f *fake) Call(ctx context.Context, method string, params, result any) error {
	if err := f.meet(ctx); err != nil {
		f.mu.Lock()
		f.owing = true
		f.mu.Unlock()
		return fmt.Errorf("%w: %w", errFakeAway, err)
	}
	in, err := json.Marshal(params)
	if err != nil {
		return err
	}
	out := json.RawMessage("null")
	var item item
	if method != methodEcho {
		if err := json.Unmarshal(in, &item); err != nil {
			return err
		}
	}
	f.mu.Lock()
	switch method {
	case methodEcho:
		out = in
	case methodPut:
		f.state[item.Session] = item.Value
	case methodGet:
		if v := f.state[item.Session]; v != nil {
			out = v
		}
	}
	f.mu.Unlock()
	if result == nil {
		return nil
	}
	return json.Unmarshal(out, result)
}

// usable says that the worker may serve another lease.
func (f *fake) usable() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.dead && !f.owing
}

// kill ends the worker, which its pool is told as a reaper would.
func (f *fake) kill(cause error) bool {
	f.mu.Lock()
	dead := f.dead
	f.dead = true
	f.mu.Unlock()
	if dead {
		return false
	}
	close(f.gone)
	f.retire(f.id, cause)
	return true
}

// stop is the pool's Stop.
func (f *fake) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.dead {
		f.dead = true
		close(f.gone)
	}
}

// sessionEnded forgets a session.
func (f *fake) sessionEnded(ctx context.Context, id pool.SessionID) error {
	if err := f.meet(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.state, string(id))
	return nil
}
