package process

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// DefaultAttempts is how often a Client tries a call that is idempotent.
const DefaultAttempts = 3

// errCallTimeout is why a call ended that ClientConfig.CallTimeout bounds.
var errCallTimeout = fmt.Errorf("process: call timed out: %w", context.DeadlineExceeded)

// Client acquires a worker, calls it and releases it in one step. It may be used
// concurrently.
//
// All its methods take the session whose worker is to serve, or "" for any. Their context
// is one budget for waiting, calling and repeating, unless ClientConfig.CallTimeout is set.
// Besides the errors of Worker's methods
// they return the pool's refusals, such as pool.ErrSaturated and pool.ErrSessionLost. When
// they return, the worker is released, or discarded if it cannot be used any more.
type Client struct {
	pool Acquirer
	cfg  ClientConfig
}

// ClientConfig adjusts a Client. The zero value is good.
type ClientConfig struct {
	// Attempts is how often a call is tried at most whose Request is Idempotent. Zero:
	// DefaultAttempts. Other calls are tried once.
	Attempts int
	// CallTimeout bounds each call from the moment at which it has a worker, in place of the
	// caller's context. That then bounds the wait for a worker alone: a call under way goes
	// on although it has ended, so that a caller who leaves costs no worker. A call that
	// CallTimeout ends is not repeated. It is not for streams, which are cancelled at no
	// cost. Zero: the caller's context bounds everything.
	CallTimeout time.Duration
}

// Acquirer is what a Client needs of a pool; *pool.Pool[*Worker] is one. AcquireSession must
// fail with the errors that pool.Pool returns.
type Acquirer interface {
	AcquireSession(ctx context.Context, id pool.SessionID) (pool.Lease[*Worker], error)
}

// Served says who answered a call, or was the last to be tried.
type Served struct {
	Worker   pool.WorkerID // 0 if none was acquired
	Fresh    bool          // the worker knew nothing of the session before; see pool.Lease.Fresh
	Attempts int           // how many workers the call was given to
}

// NewClient returns a client of p, which stays its owner's to close.
func NewClient(p Acquirer, cfg ClientConfig) *Client {
	if cfg.Attempts <= 0 {
		cfg.Attempts = DefaultAttempts
	}
	return &Client{pool: p, cfg: cfg}
}

// Call is Worker.Call on a worker of the pool. It is not repeated.
func (c *Client) Call(ctx context.Context, session pool.SessionID, method string, params, result any) (Served, error) {
	return c.Exchange(ctx, session, &Request{Method: method, Params: params}, &Reply{Result: result})
}

// CallRaw is Worker.CallRaw on a worker of the pool. It is not repeated.
func (c *Client) CallRaw(ctx context.Context, session pool.SessionID, method string, payload, into []byte) (answer []byte, by Served, err error) {
	by, err = c.once(ctx, session, func(ctx context.Context, w *Worker) error {
		var err error
		answer, err = w.CallRaw(ctx, method, payload, into)
		return err
	})
	return answer, by, err
}

// Exchange is Worker.Exchange on a worker of the pool. If req is Idempotent and the worker
// was lost (the error wraps ErrBroken), it is repeated on another one, while ctx has not
// ended and attempts are left. An answer of the worker is never a reason to repeat it, nor
// is a refusal of the pool. A call of a session is repeated only if the lost worker knew
// nothing of the session before: otherwise the session's state is lost, and repeating the
// call elsewhere would hide that. The error of the last attempt is returned, and wraps
// those before it.
func (c *Client) Exchange(ctx context.Context, session pool.SessionID, req *Request, rep *Reply) (by Served, err error) {
	var failed error
	for attempt := 1; ; attempt++ {
		by, err = c.once(ctx, session, func(ctx context.Context, w *Worker) error { return w.Exchange(ctx, req, rep) })
		if by.Worker == 0 {
			attempt--
		}
		by.Attempts = attempt
		// Of this attempt alone: what those before it are wrapped for later says ErrBroken.
		again := req.Idempotent && errors.Is(err, ErrBroken) && by.Worker != 0 && ctx.Err() == nil &&
			!errors.Is(err, errCallTimeout) && attempt < c.cfg.Attempts && (session == "" || by.Fresh)
		if err != nil && failed != nil {
			err = fmt.Errorf("%w (attempt %d; before it: %w)", err, attempt, failed)
		}
		if !again {
			return by, err
		}
		failed = err
	}
}

// Batch is Worker.Batch on a worker of the pool. It is not repeated.
func (c *Client) Batch(ctx context.Context, session pool.SessionID, calls []*BatchCall) (Served, error) {
	return c.once(ctx, session, func(ctx context.Context, w *Worker) error { return w.Batch(ctx, calls) })
}

// Stream is Worker.Stream on a worker of the pool, which is the stream's until its end or
// Close. It is not repeated.
func (c *Client) Stream(ctx context.Context, session pool.SessionID, req *Request) (_ *Stream, by Served, err error) {
	lease, err := c.pool.AcquireSession(ctx, session)
	if err != nil {
		return nil, Served{}, err
	}
	by = Served{Worker: lease.WorkerID(), Fresh: lease.Fresh(), Attempts: 1}
	var s *Stream
	defer func() { // also if the params panic
		if s == nil {
			giveBack(lease, err)
		}
	}()
	if s, err = lease.Worker().Stream(ctx, req); err != nil {
		return nil, by, err
	}
	s.release = func(broken error) { giveBack(lease, broken) }
	return s, by, nil
}

// once has a worker do something, with nobody else using it.
func (c *Client) once(ctx context.Context, session pool.SessionID, do func(context.Context, *Worker) error) (by Served, err error) {
	lease, err := c.pool.AcquireSession(ctx, session)
	if err != nil {
		return Served{}, err
	}
	// A panic, as of the caller's Progress, breaks the worker, which Release sees.
	defer func() { giveBack(lease, err) }()
	by = Served{Worker: lease.WorkerID(), Fresh: lease.Fresh(), Attempts: 1}
	if c.cfg.CallTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(context.WithoutCancel(ctx), c.cfg.CallTimeout, errCallTimeout)
		defer cancel()
	}
	return by, do(ctx, lease.Worker())
}

// giveBack ends a lease after err.
func giveBack(lease pool.Lease[*Worker], err error) {
	if errors.Is(err, ErrBroken) {
		lease.Discard(err)
		return
	}
	lease.Release()
}
