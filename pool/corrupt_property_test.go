package pool_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// What a drawn script does. Those from swap on damage the table.
const (
	take = "acquire" // may wait
	try  = "try"
	use  = "use" // acquire and release
	give = "release"
	drop = "discard"
	stop = "cancel"
	end  = "end"
	dies = "retire"
	size = "resize"
	wait = "sleep"

	swap   = "swap"
	toDead = "point at the dead"
	toLive = "point at the living"
	clear  = "clear"
)

var damaging = []string{swap, toDead, toLive, clear}

// deed is a step of a script. pick chooses among whatever the step may be done to.
type deed struct {
	Do      string
	Session int
	Pick    int
}

// damageScript is a pool and what is done to it.
type damageScript struct {
	Affinity                          pool.Affinity
	TTL, Recycles, Checks, Unobserved bool
	Deeds                             []deed
}

const damageWorkers, damageSessions = 3, 4

func drawDamage() *rapid.Generator[damageScript] {
	return rapid.Custom(func(t *rapid.T) damageScript {
		s := damageScript{
			Affinity: rapid.SampledFrom([]pool.Affinity{pool.Strict, pool.Sticky, pool.Prefer}).Draw(t, "affinity"),
			TTL:      rapid.Bool().Draw(t, "ttl"), Checks: rapid.Bool().Draw(t, "checks"),
			Unobserved: rapid.Bool().Draw(t, "unobserved"),
		}
		s.Recycles = s.TTL && rapid.Bool().Draw(t, "recycles")
		usual := []string{take, take, take, use, use, try, give, give, give, drop, stop, end, dies, size, wait}
		s.Deeds = drawDeeds(t, append(usual, slices.Concat(damaging, damaging)...))
		return s
	})
}

func drawDeeds(t *rapid.T, from []string) []deed {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) deed {
		return deed{
			Do:      rapid.SampledFrom(from).Draw(t, "do"),
			Session: rapid.IntRange(0, damageSessions-1).Draw(t, "session"),
			Pick:    rapid.IntRange(0, 11).Draw(t, "pick"),
		}
	}), 10, 60).Draw(t, "deeds")
}

// call is an acquire.
type call struct {
	id     pool.SessionID
	cancel context.CancelFunc
	done   chan struct{}
	lease  pool.Lease[pool.WorkerID]
	err    error
}

// damaged plays a script. The books that it judges by are its own: of grants alone.
type damaged struct {
	p      *pooltest.Pool[pool.WorkerID]
	script damageScript
	forged bool // the check values are made to fit
	landed int

	calls []*call // that have not returned
	held  []*call
	on    map[pool.SessionID]pool.WorkerID
	refs  map[pool.WorkerID]pool.Ref // all that were seen

	mu      sync.Mutex
	stopped map[pool.WorkerID]bool
	log     bytes.Buffer
}

func newDamaged(t *testing.T, script damageScript, forged bool) *damaged {
	d := &damaged{
		script: script, forged: forged, on: map[pool.SessionID]pool.WorkerID{},
		refs: map[pool.WorkerID]pool.Ref{}, stopped: map[pool.WorkerID]bool{},
	}
	cfg := quick(damageWorkers)
	cfg.MinSize, cfg.Affinity = damageWorkers, script.Affinity
	cfg.Logger = slog.New(slog.NewTextHandler(&lockedWriter{mu: &d.mu, to: &d.log}, nil))
	cfg.SessionEnded = func(context.Context, pool.WorkerID, pool.SessionID) error { return nil }
	cfg.Stop = func(_ context.Context, id pool.WorkerID, _ error) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.stopped[id] = true
		return nil
	}
	if script.TTL {
		cfg.SessionTTL = time.Minute
	}
	if script.Recycles {
		cfg.MaxLeases = 5
	}
	if script.Checks {
		cfg.HealthCheckPeriod = 7 * time.Second
		cfg.Check = func(ctx context.Context, _ pool.WorkerID) error {
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
			return nil
		}
	}
	var opts []pooltest.Option
	if script.Unobserved {
		opts = append(opts, pooltest.Unobserved())
	}
	d.p = pooltest.New(t, cfg, opts...)
	synctest.Wait()
	return d
}

type lockedWriter struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

// play does everything that the script says, then lets go of everything, and returns what
// was wrong.
func (d *damaged) play() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
		if d.forged {
			d.p.Mend()
		}
		for _, c := range d.calls {
			c.cancel()
		}
		synctest.Wait()
		for _, c := range append(d.calls, d.held...) {
			if c.err == nil && !c.over() {
				c.lease.Release()
			}
		}
	}()
	for i, step := range d.script.Deeds {
		d.do(step)
		if err := d.settle(); err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, step, err)
		}
	}
	if d.forged {
		return nil
	}
	return d.recovered()
}

func (d *damaged) session(n int) pool.SessionID { return pool.SessionID("abcd"[n : n+1]) }

// pick returns one of a list, or none.
func pick[E any](from []E, n int) (one E, ok bool) {
	if len(from) == 0 {
		return one, false
	}
	return from[n%len(from)], true
}

func (d *damaged) do(step deed) {
	id := d.session(step.Session)
	switch step.Do {
	case take, use:
		if step.Do == take && step.Pick > 8 {
			id = ""
		}
		c := d.acquire(id)
		synctest.Wait()
		if step.Do == use && c.returned() && c.err == nil {
			defer c.lease.Release()
		}
	case try:
		c := &call{id: id, cancel: func() {}, done: make(chan struct{})}
		c.lease, c.err = d.p.TryAcquireSession(id)
		close(c.done)
		d.calls = append(d.calls, c)
	case give, drop:
		if c, ok := pick(d.held, step.Pick); ok {
			d.held = slices.DeleteFunc(d.held, func(h *call) bool { return h == c })
			if step.Do == give {
				c.lease.Release()
			} else {
				c.lease.Discard(nil)
			}
		}
	case stop:
		if c, ok := pick(d.calls, step.Pick); ok {
			c.cancel()
		}
	case end:
		delete(d.on, id)
		d.p.EndSession(id)
	case dies:
		if w, ok := pick(d.seen(true), step.Pick); ok {
			d.p.Retire(w, nil)
		}
	case size:
		if err := d.p.Resize(0, 1+step.Pick%damageWorkers); err != nil {
			panic(err)
		}
	case wait:
		time.Sleep([]time.Duration{time.Second, 10 * time.Second, time.Minute}[step.Pick%3])
	default:
		d.damage(step, id)
	}
}

func (d *damaged) acquire(id pool.SessionID) *call {
	ctx, cancel := context.WithCancel(context.Background())
	c := &call{id: id, cancel: cancel, done: make(chan struct{})}
	d.calls = append(d.calls, c)
	go func() {
		defer close(c.done)
		c.lease, c.err = d.p.AcquireSession(ctx, id)
	}()
	return c
}

func (c *call) returned() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// seen returns the workers that were seen and live, or are gone.
func (d *damaged) seen(alive bool) (ids []pool.WorkerID) {
	for id := range pool.WorkerID(100) {
		if d.refs[id] != nil && (d.p.Ref(id) != nil) == alive {
			ids = append(ids, id)
		}
	}
	return ids
}

func (d *damaged) damage(step deed, id pool.SessionID) {
	landed := false
	switch step.Do {
	case swap:
		landed = d.p.Swap(id, d.session(step.Pick%damageSessions), d.forged)
	case clear:
		landed = d.p.Overwrite(id, nil, d.forged)
	case toDead, toLive:
		if w, ok := pick(d.seen(step.Do == toLive), step.Pick); ok {
			landed = d.p.Overwrite(id, d.refs[w], d.forged)
		}
	}
	if landed {
		d.landed++
	}
}

// settle waits until nothing more happens, and judges what the calls that have returned got.
func (d *damaged) settle() error {
	synctest.Wait()
	for id := range pool.WorkerID(100) {
		if w := d.p.Ref(id); w != nil {
			d.refs[id] = w
		}
	}
	var back []*call
	d.calls = slices.DeleteFunc(d.calls, func(c *call) bool {
		if c.returned() {
			back = append(back, c)
		}
		return c.returned()
	})
	slices.SortFunc(back, func(a, b *call) int { return cmp.Compare(a.token(), b.token()) })
	for _, c := range back {
		if c.err == nil {
			d.held = append(d.held, c)
		}
	}
	for _, c := range back {
		if err := d.judge(c); err != nil {
			return err
		}
	}
	// A lease that was given back at once is not held.
	d.held = slices.DeleteFunc(d.held, func(c *call) bool { return c.over() })
	if !d.forged {
		d.p.MustHold()
	}
	return nil
}

// token is that of the grant; a refusal comes after all grants.
func (c *call) token() pool.Token {
	if c.err != nil {
		return pool.Token(1<<64 - 1)
	}
	return c.lease.Token()
}

// over reports whether the lease has ended.
func (c *call) over() (over bool) {
	defer func() { over = recover() != nil }()
	c.lease.Worker()
	return false
}

func (d *damaged) judge(c *call) error {
	switch {
	case c.err == nil:
	case errors.Is(c.err, pool.ErrSessionLost) && d.script.Affinity == pool.Strict:
		delete(d.on, c.id)
		return nil
	case errors.Is(c.err, context.Canceled), errors.Is(c.err, pool.ErrNotAvailable):
		return nil
	default:
		return fmt.Errorf("acquire of %q: %w", c.id, c.err)
	}
	w := c.lease.WorkerID()
	d.mu.Lock()
	stopped := d.stopped[w]
	d.mu.Unlock()
	if stopped && !c.over() {
		return fmt.Errorf("session %q was served by worker %d, which is dead", c.id, w)
	}
	for _, h := range d.held {
		if h != c && h.lease.WorkerID() == w && !h.over() && !c.over() {
			return fmt.Errorf("worker %d has two leases", w)
		}
	}
	if c.id == "" {
		return nil
	}
	if was, bound := d.on[c.id]; !c.lease.Fresh() && (!bound || was != w) {
		return fmt.Errorf("session %s, bound to worker %d, was served by worker %d", c.id, was, w)
	}
	d.on[c.id] = w
	return nil
}

// recovered demands that, once everybody has let go, all workers can be had and the books
// are empty.
func (d *damaged) recovered() error {
	for _, c := range d.calls {
		c.cancel()
	}
	if err := d.settle(); err != nil {
		return err
	}
	for _, c := range d.held {
		c.lease.Release()
	}
	d.held = nil
	if err := d.p.Resize(0, damageWorkers); err != nil {
		return err
	}
	for round := range 2 {
		for range damageWorkers {
			c := d.acquire("")
			time.Sleep(time.Minute) // starts, and the session's telling
			if !c.returned() {
				return fmt.Errorf("round %d: no worker for an acquire: %+v", round, d.p.Stat())
			}
			if err := d.settle(); err != nil {
				return err
			}
		}
		if s := d.p.Stat(); s.Leased != damageWorkers || s.Live() != damageWorkers || s.Waiting != 0 {
			return fmt.Errorf("round %d: the counts are off: %+v", round, s)
		}
		for _, c := range d.held {
			c.lease.Release()
		}
		d.held = nil
		for n := range damageSessions {
			d.p.EndSession(d.session(n))
		}
	}
	if s := d.p.Stat(); s.Sessions != 0 || s.BoundSessions != 0 || s.LostSessions != 0 {
		return fmt.Errorf("sessions are left: %+v", s)
	}
	d.p.MustHold()
	return nil
}

// Bindings are overwritten at any moment amid anything: no session is served by a worker
// that it was not bound to, and in the end the pool is whole.
func TestDamageServesNobodyWrong(t *testing.T) {
	landed, noticed := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		script := drawDamage().Draw(rt, "script")
		var err error
		synctest.Test(t, func(t *testing.T) {
			d := newDamaged(t, script, false)
			err = d.play()
			d.mu.Lock()
			defer d.mu.Unlock()
			landed += d.landed
			noticed += strings.Count(d.log.String(), "binding was corrupt")
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
	t.Logf("%d bindings overwritten, %d noticed", landed, noticed)
	if noticed == 0 {
		t.Errorf("%d bindings overwritten, none noticed", landed)
	}
}

// Without the check, which is what check values that always fit come to, the same judge
// finds sessions on wrong workers; with it, it finds none.
func TestDamageWithoutTheCheckIsFound(t *testing.T) {
	scripts := rapid.Custom(func(t *rapid.T) damageScript {
		s := damageScript{Affinity: pool.Sticky, Unobserved: true}
		for n := range damageSessions {
			s.Deeds = append(s.Deeds, deed{Do: take, Session: n}, deed{Do: give})
		}
		// Nothing else: a pool that is wrong about its bindings breaks down soon.
		s.Deeds = append(s.Deeds, drawDeeds(t, []string{use, use, swap})...)
		return s
	})
	found := map[bool]int{}
	for seed := range 100 {
		script := scripts.Example(seed)
		for _, forged := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				err := newDamaged(t, script, forged).play()
				switch {
				case err == nil:
				case strings.Contains(err.Error(), "was served by worker"):
					found[forged]++
				default:
					t.Errorf("forged %t: %v\n%+v", forged, err, script)
				}
			})
		}
	}
	if found[true] < 10 || found[false] > 0 {
		t.Errorf("of 100 scripts %d were found without the check, %d with it", found[true], found[false])
	}
}
