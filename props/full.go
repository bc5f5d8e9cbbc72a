package props

import (
	"context"
	"sync/atomic"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
)

// Subject is a pool with the interface of [pool.Pool], as the fuller machine drives it.
// [SubjectOf] makes one from any pool that has these methods.
type Subject interface {
	Acquire(ctx context.Context) (SubjectLease, error)
	AcquireSession(ctx context.Context, id pool.SessionID) (SubjectLease, error)
	TryAcquire() (SubjectLease, error)
	TryAcquireSession(id pool.SessionID) (SubjectLease, error)
	EndSession(id pool.SessionID)
	Retire(id pool.WorkerID, cause error)
	Resize(least, most int) error
	Shutdown(ctx context.Context) error
	Close() error
	// Tally returns the parts of the pool's own statistics; ok is false if it has none.
	Tally() (tally Tally, ok bool)
}

// SubjectLease is a lease of a [Subject], with the methods of [pool.Lease].
type SubjectLease interface {
	Worker() *FullWorker
	WorkerID() pool.WorkerID
	Token() pool.Token
	Fresh() bool
	Revoked() bool
	Release()
	Discard(cause error)
}

// Tally is what a pool says about itself: how many workers are in each phase.
type Tally struct {
	Live, Starting, Idle, Checking, Leased, Stopping int
	Waiting                                          int
}

// FullWorker is a worker as the fuller machine makes it. Its hooks are gated: each says
// that it was called and then waits to be told how to end.
type FullWorker struct {
	ID    pool.WorkerID
	Value any // what Backend.Start returned

	usable fullUsable // what Usable will say; set before the release that asks

	mark model.Client // of Race; written by the holder alone
	word atomic.Int64 // of Race; the client that holds it, 0: none
}

// Backend makes the workers behind the gates. A hook that is told to succeed calls it, and
// succeeds if it does; a hook that is told to fail does not call it. Its methods may be
// called concurrently.
type Backend interface {
	// Start makes a worker; ctx does not end when the pool gives up the start.
	Start(ctx context.Context, id pool.WorkerID) (any, error)
	// Stop ends a worker and returns when it is gone.
	Stop(ctx context.Context, worker any) error
	// Check asks a worker whether it is well.
	Check(ctx context.Context, worker any) error
	// Kill makes a worker die. It returns true if the pool hears of that by itself, as
	// from a reaper that calls Retire; otherwise the machine calls Retire.
	Kill(worker any) bool
}

// fullMemory is the backend of workers that are nothing but their ID.
type fullMemory struct{}

func (fullMemory) Start(context.Context, pool.WorkerID) (any, error) { return nil, nil }
func (fullMemory) Stop(context.Context, any) error                   { return nil }
func (fullMemory) Check(context.Context, any) error                  { return nil }
func (fullMemory) Kill(any) bool                                     { return false }

// PoolMethods is the method set that [SubjectOf] adapts; pool.Pool[*FullWorker] has it with
// L = pool.Lease[*FullWorker].
type PoolMethods[L SubjectLease] interface {
	Acquire(ctx context.Context) (L, error)
	AcquireSession(ctx context.Context, id pool.SessionID) (L, error)
	TryAcquire() (L, error)
	TryAcquireSession(id pool.SessionID) (L, error)
	EndSession(id pool.SessionID)
	Retire(id pool.WorkerID, cause error)
	Resize(least, most int) error
	Shutdown(ctx context.Context) error
	Close() error
}

// SubjectOf adapts a pool. tally may be nil.
func SubjectOf[L SubjectLease, P PoolMethods[L]](p P, tally func(P) Tally) Subject {
	return &fullSubject[L, P]{p: p, tally: tally}
}

// OpenPool is the PoolTarget.Open of package pool.
func OpenPool(cfg pool.Config[*FullWorker]) (Subject, error) {
	p, err := pool.New(cfg)
	if err != nil {
		return nil, err
	}
	return SubjectOf(p, func(p *pool.Pool[*FullWorker]) Tally {
		s := p.Stat()
		return Tally{
			Live: s.Live(), Starting: s.Starting, Idle: s.Idle, Checking: s.Checking, Leased: s.Leased,
			Stopping: s.Stopping, Waiting: s.Waiting,
		}
	}), nil
}

type fullSubject[L SubjectLease, P PoolMethods[L]] struct {
	p     P
	tally func(P) Tally
}

// fullBox returns a lease only with a nil error, as a nil interface otherwise.
func fullBox[L SubjectLease](lease L, err error) (SubjectLease, error) {
	if err != nil {
		return nil, err
	}
	return lease, nil
}

func (s *fullSubject[L, P]) Acquire(ctx context.Context) (SubjectLease, error) {
	return fullBox(s.p.Acquire(ctx))
}

func (s *fullSubject[L, P]) AcquireSession(ctx context.Context, id pool.SessionID) (SubjectLease, error) {
	return fullBox(s.p.AcquireSession(ctx, id))
}

func (s *fullSubject[L, P]) TryAcquire() (SubjectLease, error) { return fullBox(s.p.TryAcquire()) }

func (s *fullSubject[L, P]) TryAcquireSession(id pool.SessionID) (SubjectLease, error) {
	return fullBox(s.p.TryAcquireSession(id))
}

func (s *fullSubject[L, P]) EndSession(id pool.SessionID)         { s.p.EndSession(id) }
func (s *fullSubject[L, P]) Retire(id pool.WorkerID, cause error) { s.p.Retire(id, cause) }
func (s *fullSubject[L, P]) Resize(least, most int) error         { return s.p.Resize(least, most) }
func (s *fullSubject[L, P]) Shutdown(ctx context.Context) error   { return s.p.Shutdown(ctx) }
func (s *fullSubject[L, P]) Close() error                         { return s.p.Close() }

// unwrap returns the pool itself, which may have more methods.
func (s *fullSubject[L, P]) unwrap() any { return s.p }

func (s *fullSubject[L, P]) Tally() (Tally, bool) {
	if s.tally == nil {
		return Tally{}, false
	}
	return s.tally(s.p), true
}
