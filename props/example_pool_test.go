package props_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/poolproof/poolproof/props"
)

var errClosed = errors.New("mypool: closed")

// myPool is the pool that ExampleVerify verifies: so many slots in a channel, each with
// something in it or not yet.
type myPool[T comparable] struct {
	slots  chan T // the zero T for a slot with nothing in it
	done   chan struct{}
	closed sync.Once
	dial   func(context.Context) (T, error)
	hangUp func(T)
}

func newMyPool[T comparable](size int, dial func(context.Context) (T, error), hangUp func(T)) *myPool[T] {
	p := &myPool[T]{slots: make(chan T, size), done: make(chan struct{}), dial: dial, hangUp: hangUp}
	for range size {
		p.slots <- *new(T)
	}
	return p
}

// Get takes something out of a slot, for which it waits until ctx ends or the pool closes.
func (p *myPool[T]) Get(ctx context.Context) (T, error) {
	var none, got T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	select {
	case <-p.done:
		return none, errClosed
	default:
	}
	select {
	case got = <-p.slots:
	case <-ctx.Done():
		return none, ctx.Err()
	case <-p.done:
		return none, errClosed
	}
	if got != none {
		return got, nil
	}
	got, err := p.dial(ctx)
	if err != nil {
		p.slots <- none
		return none, err
	}
	return got, nil
}

// Put gives back what Get returned.
func (p *myPool[T]) Put(v T) { p.slots <- v }

// Close refuses everybody and waits until all has been given back.
func (p *myPool[T]) Close() {
	p.closed.Do(func() {
		close(p.done)
		for range cap(p.slots) {
			if v := <-p.slots; v != *new(T) {
				p.hangUp(v)
			}
		}
	})
}

// TestExampleVerify runs what the example shows.
func TestExampleVerify(t *testing.T) { props.Verify(t, myTarget()) }
