package layers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// troupe plays scenarios on one layer, one after the other. Scenarios that want nothing
// special of a pool share one, as starts are what costs time.
type troupe struct {
	t        testing.TB
	layer    layer
	patience time.Duration // for what a passing scenario waits for much shorter
	shared   map[string]*crew
}

func newTroupe(t testing.TB, l layer, patience time.Duration) *troupe {
	return &troupe{t: t, layer: l, patience: patience, shared: make(map[string]*crew)}
}

// stage is where one scenario plays. Its methods end the scenario, by a panic with a
// failure, where it cannot go on.
type stage struct {
	*troupe
	own []*crew

	mu   sync.Mutex
	text strings.Builder // guarded by mu: the transcript
}

// failure says why a scenario could not go on.
type failure string

// play plays a scenario and returns its transcript, without PIDs, times and other things
// that cannot be the same twice.
func (tr *troupe) play(s scenario) (transcript string, err error) {
	st := &stage{troupe: tr}
	defer func() {
		switch f := recover().(type) {
		case nil:
		case failure:
			err = errors.Join(fmt.Errorf("%s\nafter:\n%s", string(f), st.text.String()), tr.close())
		default:
			panic(f)
		}
	}()
	defer func() {
		for _, c := range st.own {
			if err := c.finish(); err != nil {
				st.failf("%v", err)
			}
		}
	}()
	s.run(st)
	return st.text.String(), nil
}

// close closes the shared pools.
func (tr *troupe) close() error {
	var errs []error
	for _, c := range tr.shared {
		errs = append(errs, c.finish())
	}
	clear(tr.shared)
	return errors.Join(errs...)
}

func (st *stage) failf(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// say writes a line of the transcript.
func (st *stage) say(format string, args ...any) {
	st.mu.Lock()
	defer st.mu.Unlock()
	fmt.Fprintf(&st.text, format+"\n", args...)
}

// context returns one that ends when a passing scenario would be over.
func (tr *troupe) context() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), tr.patience, errors.New("patience is over"))
}

// crew is a pool, and what was seen of it since a scenario began.
type crew struct {
	opened
	st     *stage // the scenario that has it
	log    *logBook
	closed bool // the scenario did it, in its way

	mu       sync.Mutex
	changed  chan struct{}               // closed and replaced at every event
	events   []pool.Event                // guarded by mu
	names    map[pool.WorkerID]string    // guarded by mu
	sessions map[pool.SessionID]struct{} // the scenario's
}

// usual returns the pool that scenarios share: of one worker, whose cancelled calls have
// all the time that they need.
func (st *stage) usual() *crew {
	return st.share("usual", func(o *opening) { o.CancelGrace = st.patience })
}

// share returns a pool that scenarios share, with none of its sessions left.
func (st *stage) share(key string, change func(o *opening)) *crew {
	c := st.shared[key]
	if c == nil {
		c = st.open(change)
		st.own = slices.DeleteFunc(st.own, func(own *crew) bool { return own == c })
		st.shared[key] = c
	}
	for id := range c.sessions {
		c.EndSession(id)
	}
	c.begin(st)
	return c
}

// begin makes a pool ready for a scenario.
func (c *crew) begin(st *stage) {
	c.log.clear()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.st, c.events = st, nil
	c.names, c.sessions = make(map[pool.WorkerID]string), make(map[pool.SessionID]struct{})
}

// open opens a pool of one worker, of which change makes what the scenario wants.
func (st *stage) open(change func(o *opening)) *crew {
	c := &crew{log: &logBook{changed: make(chan struct{})}, changed: make(chan struct{})}
	c.begin(st)
	o := opening{t: st.t, pool: pool.Config[member]{MaxSize: 1, Observer: c.observe}}
	o.Logger = slog.New(c.log)
	if change != nil {
		change(&o)
	}
	var err error
	if c.opened, err = st.layer.open(o); err != nil {
		st.failf("the pool does not open: %v", err)
	}
	st.own = append(st.own, c)
	return c
}

// finish closes the pool, unless a scenario did, and returns what is wrong then, or with
// the history of its calls.
func (c *crew) finish() error {
	ctx, cancel := c.st.context()
	defer cancel()
	err := c.Shutdown(ctx)
	if c.closed {
		err = nil
	}
	if live := c.Stat().Live(); live != 0 {
		err = errors.Join(err, fmt.Errorf("%d workers are live after the end", live))
	}
	return errors.Join(err, c.Judge())
}

func (c *crew) observe(e pool.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits until so many events of a kind have been told.
func (c *crew) await(count int, what string, is func(pool.Event) bool) {
	c.st.await(what, func() (bool, <-chan struct{}) {
		c.mu.Lock()
		defer c.mu.Unlock()
		n := 0
		for _, e := range c.events {
			if is(e) {
				n++
			}
		}
		return n >= count, c.changed
	})
}

// await waits until a claim holds, which is asked again when its channel is closed.
func (st *stage) await(what string, holds func() (bool, <-chan struct{})) {
	deadline := time.NewTimer(st.patience)
	defer deadline.Stop()
	for {
		ok, changed := holds()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			st.failf("waited %v for %s", st.patience, what)
		}
	}
}

// poll waits for a claim whose coming true is no event.
func (st *stage) poll(what string, holds func() bool) {
	for deadline := time.Now().Add(st.patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			st.failf("waited %v until %s", st.patience, what)
		}
	}
}

func kindIs(kind pool.EventKind) func(pool.Event) bool {
	return func(e pool.Event) bool { return e.Kind == kind }
}

// name names an incarnation, in the order in which the scenario comes across them.
func (c *crew) name(id pool.WorkerID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[id] == "" {
		c.names[id] = string(rune('A' + len(c.names)))
	}
	return c.names[id]
}

// lease takes a lease, and says who serves, or why nobody does.
func (c *crew) lease(session pool.SessionID) (pool.Lease[member], bool) {
	ctx, cancel := c.st.context()
	defer cancel()
	c.sessions[session] = struct{}{}
	l, err := c.AcquireSession(ctx, session)
	who := "anyone"
	if session != "" {
		who = "session " + string(session)
	}
	switch {
	case err != nil:
		c.st.say("%s: %s", who, kind(err))
		return l, false
	case l.Fresh():
		c.st.say("%s: worker %s, fresh", who, c.name(l.WorkerID()))
	default:
		c.st.say("%s: worker %s", who, c.name(l.WorkerID()))
	}
	return l, true
}

// with has a worker do something.
func (c *crew) with(session pool.SessionID, do func(m member)) {
	l, ok := c.lease(session)
	if !ok {
		return
	}
	defer l.Release()
	do(l.Worker())
}

// call calls a method and says what came of it.
func (st *stage) call(m member, method string, params any) {
	ctx, cancel := st.context()
	defer cancel()
	st.callIn(ctx, m, method, params)
}

func (st *stage) callIn(ctx context.Context, m member, method string, params any) {
	var result json.RawMessage
	err := m.Call(ctx, method, params, &result)
	st.say("  %s: %s", method, outcome(result, err))
}

// outcome is a result, or what kind of error there is.
func outcome(result json.RawMessage, err error) string {
	if err != nil {
		return kind(err)
	}
	var value any
	if err := json.Unmarshal(result, &value); err != nil {
		return "no JSON: " + err.Error()
	}
	text, err := json.Marshal(value) // members in order, no blanks
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// kind says what errors.Is and errors.As make of an error.
func kind(err error) string {
	var (
		start    *pool.StartError
		answered *process.RemoteError
		shutdown *pool.ShutdownError
	)
	switch {
	case err == nil:
		return "in good order"
	case errors.As(err, &start):
		return "start failed"
	case errors.As(err, &answered):
		text := fmt.Sprintf("error %d", answered.Code)
		if answered.Code > 0 { // the method's own
			text += fmt.Sprintf(" %q", answered.Message)
		}
		return text
	case errors.As(err, &shutdown):
		return fmt.Sprintf("%d leases revoked, %d hooks run", len(shutdown.Revoked), len(shutdown.Running))
	case errors.Is(err, process.ErrBroken):
		return "broken, " + causeOf(err)
	}
	for _, is := range []struct {
		err  error
		name string
	}{
		{pool.ErrClosed, "closed"},
		{pool.ErrSessionLost, "session lost"},
		{pool.ErrSessionLimit, "too many sessions"},
		{pool.ErrSaturated, "saturated"},
		{pool.ErrNotAvailable, "not available"},
		{pool.ErrAcquireTimeout, "acquire timed out"},
		{process.ErrFrameTooLarge, "too large"},
		{context.Canceled, "cancelled"},
		{context.DeadlineExceeded, "deadline"},
	} {
		if errors.Is(err, is.err) {
			return is.name
		}
	}
	return "another error: " + err.Error()
}

// causeOf says why a worker is broken. That it is gone shows in as many ways as there are
// layers; what became of its process is for a scenario of its own.
func causeOf(err error) string {
	var exit *process.ExitError
	if errors.As(err, &exit) {
		return "gone"
	}
	for _, is := range []struct {
		err  error
		name string
	}{
		{context.Canceled, "cancelled"},
		{context.DeadlineExceeded, "deadline"},
		{process.ErrStopped, "stopped"},
		{process.ErrStreamClosed, "stream closed"},
		{process.ErrProtocol, "protocol"},
		{errDied, "gone"},
		{io.EOF, "gone"},
		{io.ErrUnexpectedEOF, "gone"},
		{io.ErrClosedPipe, "gone"},
		{os.ErrClosed, "gone"},
		{syscall.EPIPE, "gone"},
	} {
		if errors.Is(err, is.err) {
			return is.name
		}
	}
	return "for another cause: " + err.Error()
}

// logBook is a slog.Handler that keeps what workers say.
type logBook struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every record
	lines   []string      // guarded by mu
}

func (b *logBook) Enabled(context.Context, slog.Level) bool { return true }
func (b *logBook) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b *logBook) WithGroup(string) slog.Handler            { return b }

func (b *logBook) Handle(_ context.Context, r slog.Record) error {
	named := false
	r.Attrs(func(a slog.Attr) bool {
		named = named || a.Key == "worker"
		return true
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if named {
		b.lines = append(b.lines, strings.ToLower(r.Level.String())+" "+r.Message)
		close(b.changed)
		b.changed = make(chan struct{})
	}
	return nil
}

func (b *logBook) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = nil
}

// has reports whether a line was logged.
func (b *logBook) has(line string) (bool, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lines {
		if l == line {
			return true, nil
		}
	}
	return false, b.changed
}
