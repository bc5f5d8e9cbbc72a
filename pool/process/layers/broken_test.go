package layers_test

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
)

// These chains are wrong, each in one way.

type do = func(context.Context, member) error

// oneWay leaves the first layer for good once that was passed over.
type oneWay struct {
	*trial
	rest atomic.Pointer[fallback.Chain[member]]
}

func (c *oneWay) Do(ctx context.Context, id pool.SessionID, f do) (fallback.Served, error) {
	if rest := c.rest.Load(); rest != nil {
		return rest.Do(ctx, id, f)
	}
	served, err := c.real.Do(ctx, id, f)
	if err == nil && len(served.Passed) > 0 {
		c.real.EndSession(id)
		c.rest.CompareAndSwap(nil, c.newChain(
			fallback.Layer[member]{Name: onWire, Pool: c.wire}, fallback.Layer[member]{Name: onMemory, Pool: c.memory},
		))
	}
	return served, err
}

func (c *oneWay) EndSession(id pool.SessionID) {
	c.real.EndSession(id)
	if rest := c.rest.Load(); rest != nil {
		rest.EndSession(id)
	}
}

// silent begins a session anew where its layer refuses it, and tells nobody.
type silent struct{ *fallback.Chain[member] }

func (c *silent) Do(ctx context.Context, id pool.SessionID, f do) (fallback.Served, error) {
	served, err := c.Chain.Do(ctx, id, f)
	if errors.Is(err, fallback.ErrSessionHeld) || errors.Is(err, pool.ErrSessionLost) {
		c.EndSession(id)
		served, err = c.Chain.Do(ctx, id, f)
		served.Fresh = false
	}
	return served, err
}

// twice runs some calls again.
type twice struct{ *fallback.Chain[member] }

func (c *twice) Do(ctx context.Context, id pool.SessionID, f do) (fallback.Served, error) {
	return c.Chain.Do(ctx, id, func(ctx context.Context, m member) error {
		if err := f(ctx, m); err != nil {
			return err
		}
		return f(ctx, m)
	})
}

// dropping says of some calls that they were served, which have not run.
type dropping struct {
	*fallback.Chain[member]
	count atomic.Int64
}

func (c *dropping) Do(ctx context.Context, id pool.SessionID, f do) (fallback.Served, error) {
	if c.count.Add(1)%20 == 0 {
		return fallback.Served{Layer: onProcess}, nil
	}
	return c.Chain.Do(ctx, id, f)
}

// misnaming says of every call that the first layer served it.
type misnaming struct{ *fallback.Chain[member] }

func (c *misnaming) Do(ctx context.Context, id pool.SessionID, f do) (fallback.Served, error) {
	served, err := c.Chain.Do(ctx, id, f)
	if served.Layer != "" {
		served.Layer = onProcess
	}
	return served, err
}

// forgetful ends no session.
type forgetful struct{ *fallback.Chain[member] }

func (*forgetful) EndSession(pool.SessionID) {}
