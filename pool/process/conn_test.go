package process

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
)

// The news that a conn has broken reaches an exchange that began before and had yet to
// send its request.
func TestConnThatBreaksBeforeTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, remote := net.Pipe()
		defer remote.Close()
		c := newConn(host, connSetup{worker: 1, limit: 100})
		if err := c.begin(context.Background(), giveUp); err != nil {
			t.Fatal(err)
		}
		c.fail(ErrStopped)
		c.await(flight{first: 1, last: 1})
		if err := c.wait(context.Background(), giveUp, nil); !errors.Is(err, ErrStopped) {
			t.Errorf("got %v, want ErrStopped", err)
		}
		<-c.gone
	})
}
