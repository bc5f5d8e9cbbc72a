package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// hurt is a pool of three idle workers with the sessions a, b and c, one on each, whose
// table is to be damaged.
type hurt struct {
	*pooltest.Pool[pool.WorkerID]
	t        *testing.T
	affinity pool.Affinity
	observed bool
	dead     pool.Ref
	on       map[pool.SessionID]pool.WorkerID

	mu   sync.Mutex
	lost map[pool.SessionID]int // events
	told map[string]int         // session and worker
	log  strings.Builder
}

const corruptTTL = time.Hour

func newHurt(t *testing.T, affinity pool.Affinity, observed bool) *hurt {
	h := &hurt{
		t: t, affinity: affinity, observed: observed,
		on: map[pool.SessionID]pool.WorkerID{}, lost: map[pool.SessionID]int{}, told: map[string]int{},
	}
	cfg := quick(3)
	cfg.MinSize, cfg.Affinity, cfg.SessionTTL = 3, affinity, corruptTTL
	cfg.Logger = slog.New(slog.NewTextHandler(h, nil))
	cfg.SessionEnded = func(_ context.Context, w pool.WorkerID, id pool.SessionID) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.told[fmt.Sprint(id, w)]++
		return nil
	}
	opts := []pooltest.Option{pooltest.Unobserved()}
	if observed {
		opts = nil
		cfg.Observer = func(e pool.Event) {
			if e.Kind == pool.SessionLost {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.lost[e.Session]++
			}
		}
	}
	h.Pool = pooltest.New(t, cfg, opts...)
	synctest.Wait()
	h.dead = h.Ref(1)
	h.get("").Discard(nil) // another may be the first
	h.Retire(1, nil)
	synctest.Wait()
	if h.Ref(1) != nil {
		t.Fatal("worker 1 is not gone")
	}
	var leases []pool.Lease[pool.WorkerID]
	for _, id := range []pool.SessionID{"a", "b", "c"} {
		lease := h.get(id)
		h.on[id] = lease.WorkerID()
		leases = append(leases, lease)
	}
	for _, lease := range leases {
		lease.Release()
	}
	return h
}

func (h *hurt) Write(line []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(line)
}

func (h *hurt) get(id pool.SessionID) pool.Lease[pool.WorkerID] {
	h.t.Helper()
	return acquire(h.t, h.Pool, id)
}

// outcome is what an acquire came to.
type outcome struct {
	lease pool.Lease[pool.WorkerID]
	err   error
}

// park has an acquire of id wait.
func (h *hurt) park(ctx context.Context, id pool.SessionID) chan outcome {
	h.t.Helper()
	done := make(chan outcome, 1)
	go func() {
		lease, err := h.AcquireSession(ctx, id)
		done <- outcome{lease, err}
	}()
	synctest.Wait()
	select {
	case o := <-done:
		h.t.Fatalf("the acquire of %s did not wait: %v", id, o.err)
	default:
	}
	return done
}

// lostOr demands of an acquire what is promised to a session whose binding is corrupt.
func (h *hurt) lostOr(id pool.SessionID, o outcome) {
	h.t.Helper()
	switch {
	case h.affinity == pool.Strict && !errors.Is(o.err, pool.ErrSessionLost):
		h.t.Errorf("acquire of %s: worker %d, err %v; want ErrSessionLost", id, o.workerID(), o.err)
	case h.affinity != pool.Strict && (o.err != nil || !o.lease.Fresh()):
		h.t.Errorf("acquire of %s: worker %d, err %v; want a fresh lease", id, o.workerID(), o.err)
	}
	if o.err != nil {
		return
	}
	h.mu.Lock()
	told := h.told[fmt.Sprint(id, o.lease.WorkerID())]
	h.mu.Unlock()
	if o.lease.WorkerID() == h.on[id] && told != 1 {
		h.t.Errorf("session %s is back on worker %d, which was told %d times that it had ended", id, h.on[id], told)
	}
	o.lease.Release()
}

func (o outcome) workerID() pool.WorkerID {
	if o.err != nil {
		return 0
	}
	return o.lease.WorkerID()
}

func (h *hurt) try(id pool.SessionID) outcome {
	synctest.Wait()
	lease, err := h.TryAcquireSession(id)
	return outcome{lease, err}
}

// damages are the ways to hurt session a; each says which others it hurts.
var damages = map[string]func(h *hurt) (others []pool.SessionID){
	"swapped": func(h *hurt) []pool.SessionID { h.Swap("a", "b", false); return []pool.SessionID{"b"} },
	"dead":    func(h *hurt) []pool.SessionID { h.Overwrite("a", h.dead, false); return nil },
	"stray":   func(h *hurt) []pool.SessionID { h.Overwrite("a", h.Ref(h.on["b"]), false); return nil },
	"cleared": func(h *hurt) []pool.SessionID { h.Overwrite("a", nil, false); return nil },
}

// moment is when the damage to a is done and noticed. It leaves no lease out.
type moment struct {
	unobserved bool // the short cuts are taken
	ended      bool // the session is over after it, lost or not
	untold     bool // the worker is gone, and so is not told
	bystanders bool // the others may have lost their workers
	unnoticed  bool // nothing is lost
	run        func(h *hurt, damage func())
}

// held leases every worker to nobody, and returns them by ID.
func (h *hurt) held() map[pool.WorkerID]pool.Lease[pool.WorkerID] {
	leases := map[pool.WorkerID]pool.Lease[pool.WorkerID]{}
	for range 3 {
		lease := h.get("")
		leases[lease.WorkerID()] = lease
	}
	return leases
}

func (h *hurt) releaseAll(leases map[pool.WorkerID]pool.Lease[pool.WorkerID]) {
	for _, lease := range leases {
		lease.Release()
	}
	synctest.Wait()
}

var moments = map[string]moment{
	"acquire":            {run: func(h *hurt, damage func()) { damage(); h.lostOr("a", h.wait("a")) }},
	"acquire unobserved": {unobserved: true, run: func(h *hurt, damage func()) { damage(); h.lostOr("a", h.wait("a")) }},
	"try":                {run: func(h *hurt, damage func()) { damage(); h.lostOr("a", h.try("a")) }},
	"acquire while leased": {run: func(h *hurt, damage func()) {
		lease := h.get("a")
		damage()
		h.lostOr("a", h.wait("a"))
		lease.Release()
	}},
	"release":            {run: released},
	"release unobserved": {unobserved: true, run: released},
	"waiter at its session's release": {run: func(h *hurt, damage func()) {
		lease, b, c := h.get("a"), h.get("b"), h.get("c")
		waiter := h.park(h.t.Context(), "a")
		damage()
		lease.Release()
		h.lostOr("a", <-waiter)
		b.Release()
		c.Release()
	}},
	"waiter at its worker's release":             {run: waiterServed},
	"waiter at its worker's release, unobserved": {unobserved: true, run: waiterServed},
	"waiter at its worker's discard": {untold: true, run: func(h *hurt, damage func()) {
		leases := h.held()
		waiter := h.park(h.t.Context(), "a")
		damage()
		leases[h.on["a"]].Discard(nil)
		delete(leases, h.on["a"])
		h.lostOr("a", <-waiter)
		h.releaseAll(leases)
	}},
	"cancel": {run: func(h *hurt, damage func()) {
		leases := h.held()
		ctx, cancel := context.WithCancel(h.t.Context())
		waiter := h.park(ctx, "a")
		damage()
		cancel()
		if o := <-waiter; o.err != context.Canceled && !errors.Is(o.err, pool.ErrSessionLost) {
			h.t.Errorf("the cancelled acquire: worker %d, err %v", o.workerID(), o.err)
		}
		h.releaseAll(leases)
		h.lostOr("a", h.wait("a"))
	}},
	"end": {ended: true, run: func(h *hurt, damage func()) { damage(); h.EndSession("a") }},
	"end with a waiter": {ended: true, run: func(h *hurt, damage func()) {
		leases := h.held()
		waiter := h.park(h.t.Context(), "a")
		damage()
		h.EndSession("a")
		leases[h.on["b"]].Release() // to the waiter: not to the worker of a, which would be told of its second end, too
		delete(leases, h.on["b"])
		h.releaseAll(leases)
		h.lostOr("a", <-waiter)
		h.EndSession("a")
	}},
	"expiry": {ended: true, bystanders: true, run: func(h *hurt, damage func()) { damage(); time.Sleep(corruptTTL) }},
	"retire": {untold: true, run: func(h *hurt, damage func()) { damage(); h.Retire(h.on["a"], nil); h.lostOr("a", h.wait("a")) }},
	"retire leased": {untold: true, run: func(h *hurt, damage func()) {
		lease := h.get("a")
		damage()
		h.Retire(h.on["a"], nil)
		h.lostOr("a", h.wait("a"))
		lease.Release()
	}},
	"retire of the other worker": {bystanders: true, run: func(h *hurt, damage func()) {
		damage()
		h.Retire(h.on["b"], nil)
		h.lostOr("a", h.wait("a"))
	}},
	"discard": {untold: true, run: func(h *hurt, damage func()) {
		lease := h.get("a")
		damage()
		lease.Discard(nil)
		h.lostOr("a", h.wait("a"))
	}},
	"shrink": {untold: true, bystanders: true, run: func(h *hurt, damage func()) {
		b, c := h.get("b"), h.get("c")
		damage()
		if err := h.Resize(1, 1); err != nil { // the worker of a is idle, and stops
			h.t.Fatal(err)
		}
		b.Release()
		c.Release()
		if err := h.Resize(3, 3); err != nil {
			h.t.Fatal(err)
		}
		h.lostOr("a", h.wait("a"))
	}},
	"close": {unnoticed: true, run: func(h *hurt, damage func()) {
		damage()
		if err := h.Close(); err != nil {
			h.t.Errorf("Close = %v", err)
		}
	}},
	"close with a waiter and a lease": {unnoticed: true, run: func(h *hurt, damage func()) {
		leases := h.held()
		waiter := h.park(h.t.Context(), "a")
		damage()
		closed := make(chan error, 1)
		go func() { closed <- h.Close() }()
		if o := <-waiter; !errors.Is(o.err, pool.ErrClosed) {
			h.t.Errorf("the waiter got worker %d, %v; want ErrClosed", o.workerID(), o.err)
		}
		h.releaseAll(leases)
		if err := <-closed; err != nil {
			h.t.Errorf("Close = %v", err)
		}
	}},
}

func released(h *hurt, damage func()) {
	lease := h.get("a")
	damage()
	lease.Release()
	h.lostOr("a", h.wait("a"))
}

func waiterServed(h *hurt, damage func()) {
	leases := h.held()
	waiter := h.park(h.t.Context(), "a")
	damage()
	leases[h.on["a"]].Release()
	delete(leases, h.on["a"])
	h.lostOr("a", <-waiter)
	h.releaseAll(leases)
}

// wait acquires a session and fails if that does not end.
func (h *hurt) wait(id pool.SessionID) outcome {
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	lease, err := h.AcquireSession(ctx, id)
	return outcome{lease, err}
}

// A corrupt binding is noticed whenever it is used, and is a loss of the session's worker
// (I8); everybody else is served as ever.
func TestCorruptBinding(t *testing.T) {
	for _, affinity := range []pool.Affinity{pool.Strict, pool.Sticky, pool.Prefer} {
		for name, damage := range damages {
			for when, m := range moments {
				t.Run(fmt.Sprintf("%v/%s/%s", affinity, name, when), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						h := newHurt(t, affinity, !m.unobserved)
						var others []pool.SessionID
						m.run(h, func() { others = damage(h) })
						h.judge(m, others)
					})
				})
			}
		}
	}
}

// judge looks at what the damage to a has left.
func (h *hurt) judge(m moment, others []pool.SessionID) {
	h.t.Helper()
	synctest.Wait()
	h.MustHold()
	if m.unnoticed {
		if live := h.Stat().Live(); live != 0 {
			h.t.Errorf("%d workers live after Close", live)
		}
		return
	}
	h.noticed("a", m.untold)
	if m.ended {
		if o := h.wait("a"); o.err != nil || !o.lease.Fresh() {
			h.t.Errorf("acquire of a after its end: worker %d, err %v; want a fresh lease", o.workerID(), o.err)
		} else {
			o.lease.Release()
		}
	}
	if !m.bystanders {
		for _, id := range others {
			h.lostOr(id, h.wait(id))
			synctest.Wait()
			h.noticed(id, false)
		}
		for _, id := range []pool.SessionID{"b", "c"} {
			if len(others) > 0 && others[0] == id {
				continue
			}
			if o := h.wait(id); o.err != nil || o.lease.Fresh() || o.lease.WorkerID() != h.on[id] {
				h.t.Errorf("session %s got worker %d, %v; want its own, %d", id, o.workerID(), o.err, h.on[id])
			} else {
				o.lease.Release()
			}
		}
	}
	for _, id := range []pool.SessionID{"a", "b", "c"} {
		h.EndSession(id)
	}
	synctest.Wait()
	h.releaseAll(h.held())
	h.MustHold()
	if s := h.Stat(); s.Idle != 3 || s.Live() != 3 || s.Sessions != 0 || s.BoundSessions != 0 || s.LostSessions != 0 || s.Waiting != 0 {
		h.t.Errorf("the counts are off: %+v", s)
	}
}

// noticed demands that the loss of id was reported once to everybody concerned.
func (h *hurt) noticed(id pool.SessionID, untold bool) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.lost[id]; h.observed && n != 1 {
		h.t.Errorf("%d events that session %s is lost, want 1", n, id)
	}
	if n := strings.Count(h.log.String(), "binding was corrupt\" pool="); n == 0 ||
		strings.Count(h.log.String(), "session="+string(id)) != 1 {
		h.t.Errorf("session %s: want one line in the log:\n%s", id, h.log.String())
	}
	if n := h.told[fmt.Sprint(id, h.on[id])]; (n == 1) == untold {
		h.t.Errorf("the worker of %s was told %d times of its end, untold = %t", id, n, untold)
	}
}
