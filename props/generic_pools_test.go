package props

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

var (
	errTinyClosed = errors.New("tiny: closed")
	errTinyFull   = errors.New("tiny: full")
)

// tinyBug is a fault planted in a tinyPool.
type tinyBug int

const (
	tinyCorrect       tinyBug = iota
	tinyCancelLeaks           // a cancelled waiter keeps its place in the count of those served
	tinyLostWakeup            // a failed create does not wake the next waiter
	tinyOverCapacity          // CreateResource does not look at the capacity
	tinyDestroyTwice          // Close destroys what a reset has destroyed already
	tinyCloseStrands          // Close forgets the waiters
	tinyDoubleGrant           // Discard puts the resource back as well
	tinyResetCreating         // a resource whose create a reset met is kept
	tinyCloseCreating         // a resource whose create a close met is kept
	tinyResizeSleeps          // a larger capacity wakes nobody
	tinyPanicKeeps            // a create that panics keeps its slot
	tinyDoneTakes             // a context that has ended takes a resource
	tinyLIFO                  // the last waiter is served first
	tinyMiscount              // Counts forgets what is being given back
)

// tinyPool is a small pool with a mutex, a stack of idle resources and a queue of waiters.
type tinyPool struct {
	env *Env
	bug tinyBug

	mu       sync.Mutex
	max      int
	total    int // alive, being created or being destroyed
	creating int
	leased   int
	gen      int // resets so far
	idle     []*tinyResource
	waiters  []*tinyWaiter
	closed   bool
	empty    chan struct{} // closed when closed and total is 0
	stale    []*tinyResource
}

type tinyResource struct {
	*Resource
	gen int
}

type tinyWaiter struct {
	answer chan tinyAnswer // has room for one
}

type tinyAnswer struct {
	r   *tinyResource
	err error
}

type tinyLease struct {
	p    *tinyPool
	r    *tinyResource
	once sync.Once
}

func newTinyPool(env *Env, size int, bug tinyBug) *tinyPool {
	return &tinyPool{env: env, max: size, bug: bug, empty: make(chan struct{})}
}

func tinyTarget(size int, bug tinyBug) Target {
	return Target{
		Name: fmt.Sprintf("tiny-%d", bug), Capacity: size,
		Open: func(env *Env) (Pool, error) { return newTinyPool(env, size, bug), nil },
		Outcome: func(err error) Outcome {
			if errors.Is(err, errTinyClosed) {
				return Closed
			}
			return DefaultOutcome(err)
		},
		Spec: Spec{
			FIFO: true, CloseWaits: true, CloseTwice: true, ClosedAtOnce: true, HookPanics: true, DoubleRelease: Ignored,
		},
	}
}

func (p *tinyPool) Acquire(ctx context.Context) (Lease, error) {
	if err := ctx.Err(); err != nil && p.bug != tinyDoneTakes {
		return nil, err
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errTinyClosed
	}
	w := &tinyWaiter{answer: make(chan tinyAnswer, 1)}
	p.waiters = append(p.waiters, w)
	p.advanceLocked()
	p.mu.Unlock()
	if p.bug == tinyDoneTakes {
		select {
		case a := <-w.answer:
			return p.lease(a)
		default:
		}
	}
	select {
	case a := <-w.answer:
		return p.lease(a)
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiters, w)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
		if p.bug == tinyCancelLeaks {
			p.total++
		}
	}
	p.mu.Unlock()
	if i < 0 { // the answer came first; give it back
		if a := <-w.answer; a.r != nil {
			p.giveBack(a.r, false)
		}
	}
	return nil, context.Cause(ctx)
}

func (p *tinyPool) lease(a tinyAnswer) (Lease, error) {
	if a.err != nil {
		return nil, a.err
	}
	return &tinyLease{p: p, r: a.r}, nil
}

// advanceLocked serves waiters in order and starts the creates that the others need.
func (p *tinyPool) advanceLocked() {
	for len(p.waiters) > 0 && len(p.idle) > 0 {
		r := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		p.leased++
		p.answerLocked(tinyAnswer{r: r})
	}
	for p.creating < len(p.waiters) && p.total < p.max {
		p.total++
		p.creating++
		go p.create(p.gen)
	}
}

func (p *tinyPool) answerLocked(a tinyAnswer) {
	i := 0
	if p.bug == tinyLIFO {
		i = len(p.waiters) - 1
	}
	w := p.waiters[i]
	p.waiters = slices.Delete(p.waiters, i, i+1)
	w.answer <- a
}

func (p *tinyPool) create(gen int) {
	r, err := p.make(context.Background())
	p.mu.Lock()
	p.creating--
	if err != nil {
		if p.bug != tinyPanicKeeps || !errors.Is(err, errTinyPanic) {
			p.total--
		}
		if len(p.waiters) > 0 {
			p.answerLocked(tinyAnswer{err: err})
		}
		if p.bug != tinyLostWakeup {
			p.advanceLocked()
		}
		p.emptyLocked()
		p.mu.Unlock()
		return
	}
	if p.bug == tinyResetCreating {
		gen = p.gen
	}
	p.mu.Unlock()
	p.keep(&tinyResource{Resource: r, gen: gen}, false)
}

var errTinyPanic = errors.New("tiny: create panicked")

// make creates a resource; a panic becomes an error.
func (p *tinyPool) make(ctx context.Context) (r *Resource, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %w", errTinyPanic, v.(error))
		}
	}()
	return p.env.Create(ctx)
}

// giveBack ends a lease.
func (p *tinyPool) giveBack(r *tinyResource, discard bool) {
	p.mu.Lock()
	p.leased--
	if p.bug == tinyMiscount {
		p.leased = max(0, p.leased-1)
	}
	if discard && p.bug == tinyDoubleGrant {
		p.idle = append(p.idle, r)
	}
	p.mu.Unlock()
	p.keep(r, discard)
}

// keep makes r idle, or destroys it if it is not wanted.
func (p *tinyPool) keep(r *tinyResource, discard bool) {
	p.mu.Lock()
	closed := p.closed && p.bug != tinyCloseCreating
	if !discard && !closed && r.gen == p.gen && p.total <= p.max {
		p.idle = append(p.idle, r)
		p.advanceLocked()
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.destroy(r)
}

// destroy destroys r and frees its slot, whether or not the hook panics.
func (p *tinyPool) destroy(r *tinyResource) {
	defer func() {
		if v := recover(); v != nil {
			p.env.Report(fmt.Errorf("destroy: %v", v))
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.total--
		p.advanceLocked()
		p.emptyLocked()
	}()
	p.env.Destroy(r.Resource)
}

func (p *tinyPool) emptyLocked() {
	if p.closed && p.total == 0 {
		select {
		case <-p.empty:
		default:
			close(p.empty)
		}
	}
}

func (p *tinyPool) TryAcquire() (Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.waiters) > 0 || len(p.idle) == 0 {
		return nil, errTinyFull
	}
	r := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	p.leased++
	return &tinyLease{p: p, r: r}, nil
}

func (p *tinyPool) CreateResource(ctx context.Context) error {
	p.mu.Lock()
	if p.closed || p.total >= p.max && p.bug != tinyOverCapacity {
		p.mu.Unlock()
		return errTinyFull
	}
	p.total++
	gen := p.gen
	p.mu.Unlock()
	r, err := p.make(ctx)
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.total--
		p.advanceLocked()
		p.emptyLocked()
		return err
	}
	p.keep(&tinyResource{Resource: r, gen: gen}, false)
	return nil
}

func (p *tinyPool) Resize(size int) error {
	p.mu.Lock()
	p.max = size
	extra := max(0, min(p.total-size, len(p.idle)))
	drop := slices.Clone(p.idle[:extra])
	p.idle = p.idle[extra:]
	if p.bug != tinyResizeSleeps {
		p.advanceLocked()
	}
	p.mu.Unlock()
	for _, r := range drop {
		p.destroy(r)
	}
	return nil
}

func (p *tinyPool) Reset() {
	p.mu.Lock()
	p.gen++
	drop := p.idle
	p.idle = nil
	if p.bug == tinyDestroyTwice {
		p.stale = append(p.stale, drop...)
	}
	p.mu.Unlock()
	for _, r := range drop {
		p.destroy(r)
	}
}

func (p *tinyPool) Close() error {
	p.mu.Lock()
	p.closed = true
	for len(p.waiters) > 0 && p.bug != tinyCloseStrands {
		p.answerLocked(tinyAnswer{err: errTinyClosed})
	}
	drop := p.idle
	p.idle = nil
	p.total += len(p.stale)
	drop = append(drop, p.stale...)
	p.stale = nil
	p.emptyLocked()
	p.mu.Unlock()
	for _, r := range drop {
		p.destroy(r)
	}
	<-p.empty
	return nil
}

func (p *tinyPool) Counts() (idle, leased, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle), p.leased, p.total
}

func (p *tinyPool) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiters)
}

func (l *tinyLease) Resource() *Resource { return l.r.Resource }
func (l *tinyLease) Release()            { l.once.Do(func() { l.p.giveBack(l.r, false) }) }
func (l *tinyLease) Discard()            { l.once.Do(func() { l.p.giveBack(l.r, true) }) }

// chanPool is a pool of the simplest kind: a channel of slots, and no promises.
type chanPool struct {
	env    *Env
	slots  chan *Resource // nil for a slot without a resource
	done   chan struct{}
	cancel sync.Once
}

func newChanPool(env *Env, size int) *chanPool {
	p := &chanPool{env: env, slots: make(chan *Resource, size), done: make(chan struct{})}
	for range size {
		p.slots <- nil
	}
	return p
}

func (p *chanPool) Acquire(ctx context.Context) (Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-p.done:
		return nil, errTinyClosed
	default:
	}
	select {
	case r := <-p.slots:
		if r != nil {
			return chanLease{p, r}, nil
		}
		return p.create(ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-p.done:
		return nil, errTinyClosed
	}
}

// create fills the slot that the caller has taken, or gives it back.
func (p *chanPool) create(ctx context.Context) (Lease, error) {
	var made *Resource
	defer func() {
		if made == nil {
			p.slots <- nil
		}
	}()
	r, err := p.env.Create(ctx)
	if err != nil {
		return nil, err
	}
	made = r
	return chanLease{p, r}, nil
}

func (p *chanPool) Close() error {
	p.cancel.Do(func() { close(p.done) })
	for range cap(p.slots) {
		if r := <-p.slots; r != nil {
			p.env.Destroy(r)
		}
	}
	return nil
}

type chanLease struct {
	p *chanPool
	r *Resource
}

func (l chanLease) Resource() *Resource { return l.r }
func (l chanLease) Release()            { l.p.slots <- l.r }
