package process

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// cancel asks the worker, once it has the whole request, to end it because of cause, and
// waits for the reply, which it drops, so that the worker can go on. If that does not come
// in time, or the worker breaks meanwhile, the conn is broken. The error always wraps
// cause; it is nil if the reply had come before.
func (c *conn) cancel(cause error) error {
	c.mu.Lock()
	if c.flight.first == 0 {
		c.mu.Unlock()
		return nil
	}
	c.flight.cancelled = true
	c.flight.takeProgress()
	c.mu.Unlock()

	grace, end := context.WithTimeoutCause(context.Background(), c.setup.cancelGrace, cause)
	defer end()
	for asked := false; ; {
		if !asked && c.wrote() {
			c.sendNote("cancel", nil)
			asked = true
		}
		var written chan struct{}
		if !asked {
			written = c.written
		}
		select {
		case <-c.wake:
		case <-written:
			c.writing = false
		case <-grace.Done():
			c.failUnanswered(cause)
		}
		_, answered, err := c.news()
		if answered {
			if err := c.settleWrite(); err != nil {
				return broken(err, cause)
			}
			c.end()
			return cause
		}
		if err != nil {
			c.reclaim()
			return broken(err, cause)
		}
	}
}

// broken returns err, which the conn broke with, and sees to it that cause is wrapped.
func broken(err, cause error) error {
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w, after the call was given up: %w", err, cause)
}

// failUnanswered breaks the conn because of cause unless the reply has come.
func (c *conn) failUnanswered(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight.first != 0 {
		c.failLocked(cause)
	}
}

// sendNote sends a notification about the request under way. Nothing may be left to be
// written.
func (c *conn) sendNote(method string, member []byte) {
	c.note = append(c.note[:0], make([]byte, FrameHeaderBytes)...)
	c.note = append(c.note, `{"jsonrpc":"2.0","method":"`...)
	c.note = append(c.note, method...)
	c.note = append(c.note, `","params":{"id":`...)
	c.note = strconv.AppendUint(c.note, c.id, 10)
	c.note = append(c.note, member...)
	c.note = append(c.note, "}}"...)
	if err := SealFrame(c.note, len(c.note)); err != nil {
		panic(err) // the limit is its own length
	}
	c.send(c.note, nil, false)
}
