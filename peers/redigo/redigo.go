// Package redigo adapts the pool of connections in github.com/gomodule/redigo/redis, over
// connections that do nothing.
package redigo

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/poolproof/poolproof/props"
)

// Targets returns the pool of two connections, waiting and not.
func Targets() []props.Target {
	return []props.Target{
		target("redigo", true, props.Spec{}),
		target("redigo-nowait", false, props.Spec{RefusesWhenFull: true}), // ErrPoolExhausted
	}
}

func target(name string, wait bool, spec props.Spec) props.Target {
	const size = 2
	spec.IdleTime = time.Minute     // Pool.IdleTimeout: idle for so long, they are closed
	spec.Lifetime = 5 * time.Minute // Pool.MaxConnLifetime: older ones are closed
	spec.Slack = time.Millisecond
	spec.DoneTakes = !wait // GetContext: an error if the context ends before the connection is complete
	return props.Target{
		Name: name, Capacity: size, Spec: spec,
		Outcome: func(err error) props.Outcome {
			if err.Error() == "redigo: get on closed pool" { // the package exports no name for it
				return props.Closed
			}
			return props.DefaultOutcome(err)
		},
		Open: func(env *props.Env) (props.Pool, error) {
			return pool{&redis.Pool{
				MaxActive: size, MaxIdle: size, Wait: wait, IdleTimeout: spec.IdleTime, MaxConnLifetime: spec.Lifetime,
				DialContext: func(ctx context.Context) (redis.Conn, error) {
					r, err := env.Create(ctx)
					if err != nil {
						return nil, err
					}
					return &conn{env: env, r: r}, nil
				},
				TestOnBorrow: func(c redis.Conn, _ time.Time) error { return env.Check(c.(*conn).r) },
			}}, nil
		},
	}
}

type pool struct{ *redis.Pool }

func (p pool) Acquire(ctx context.Context) (props.Lease, error) {
	c, err := p.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	own, err := c.Do("own")
	if err != nil {
		return nil, err
	}
	return lease{c, own.(*conn)}, nil
}

type lease struct {
	redis.Conn
	own *conn
}

func (l lease) Resource() *props.Resource { return l.own.r }
func (l lease) Release()                  { _ = l.Close() }

// Discard returns a connection that has an error: it is closed.
func (l lease) Discard() {
	l.own.bad.Store(true)
	_ = l.Close()
}

// conn is a connection.
type conn struct {
	env *props.Env
	r   *props.Resource
	bad atomic.Bool
}

func (c *conn) Close() error { c.env.Destroy(c.r); return nil }

func (c *conn) Err() error {
	if c.bad.Load() {
		return redis.ErrPoolExhausted // any
	}
	return nil
}

func (c *conn) Do(command string, _ ...any) (any, error) {
	if command == "own" {
		return c, nil
	}
	return nil, nil
}

func (c *conn) Send(string, ...any) error { return nil }
func (c *conn) Flush() error              { return nil }
func (c *conn) Receive() (any, error)     { return nil, redis.ErrNil }
