// Package sql adapts the pool of connections in database/sql, over a driver that does nothing.
package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/poolproof/poolproof/props"
)

// SetConnMaxIdleTime is set, but not held against it: when idle connections are closed is
// left to a goroutine that closes others meanwhile.

// Targets returns a database of two connections, and one whose limit is changed.
func Targets() []props.Target {
	return []props.Target{
		target("sql", func(p pool) props.Pool { return p }),
		target("sql-resize", func(p pool) props.Pool { return resizable{p} }),
	}
}

func target(name string, adapt func(pool) props.Pool) props.Target {
	const size = 2
	return props.Target{
		Name: name, Capacity: size,
		Spec: props.Spec{
			Lifetime:    5 * time.Minute, // SetConnMaxLifetime: expired ones are closed before reuse at the latest
			Slack:       time.Millisecond,
			ShrinksLate: true, // SetMaxOpenConns: nothing is said of connections in use
		},
		Outcome: func(err error) props.Outcome {
			if err.Error() == "sql: database is closed" { // the package exports no name for it
				return props.Closed
			}
			return props.DefaultOutcome(err)
		},
		Open: func(env *props.Env) (props.Pool, error) {
			db := sql.OpenDB(connector{env})
			db.SetMaxOpenConns(size)
			db.SetMaxIdleConns(size)
			db.SetConnMaxLifetime(5 * time.Minute)
			db.SetConnMaxIdleTime(time.Minute)
			return adapt(pool{db}), nil
		},
	}
}

type pool struct{ *sql.DB }

func (p pool) Acquire(ctx context.Context) (props.Lease, error) {
	c, err := p.Conn(ctx)
	if err != nil {
		return nil, err
	}
	l := lease{Conn: c}
	err = c.Raw(func(dc any) error { l.r = dc.(*conn).r; return nil })
	return l, err
}

func (p pool) Counts() (idle, leased, total int) {
	s := p.Stats()
	return s.Idle, s.InUse, s.OpenConnections
}

type resizable struct{ pool }

func (p resizable) Resize(most int) error { p.SetMaxOpenConns(most); return nil }

type lease struct {
	*sql.Conn
	r *props.Resource
}

func (l lease) Resource() *props.Resource { return l.r }
func (l lease) Release()                  { _ = l.Close() } // fails if it was discarded

// Discard returns a connection as package driver says that a bad one is returned.
func (l lease) Discard() {
	_ = l.Raw(func(any) error { return driver.ErrBadConn })
	_ = l.Close()
}

// connector and conn are the driver.
type connector struct{ env *props.Env }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	r, err := c.env.Create(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{c.env, r}, nil
}

func (connector) Driver() driver.Driver { return nil }

type conn struct {
	env *props.Env
	r   *props.Resource
}

func (c *conn) Close() error { c.env.Destroy(c.r); return nil }

func (c *conn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (c *conn) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }
