package props

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
)

// historyDrift is by how much the stamps of a history may differ from the pool's own clock.
const historyDrift = time.Millisecond

// historyOf is what a pool of that configuration promises, as far as histories can show it.
func historyOf(cfg *model.Config, tick time.Duration) linearize.Config {
	c := linearize.Config{
		Capacity: cfg.MaxSize, Affinity: linearize.Strict + linearize.Affinity(cfg.Affinity-model.Strict),
		FIFO: true, MaxWaiters: cfg.MaxWaiters, CloseWaits: true, NoneAfter: true, Fresh: true,
	}
	if cfg.SessionTTL > 0 {
		c.SessionTTL, c.Slack = time.Duration(cfg.SessionTTL)*tick-historyDrift, 2*historyDrift
	}
	return c
}

// historyReplay is the command that does again what a test did from that seed.
func historyReplay(t testing.TB, seed string) string {
	name := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	return fmt.Sprintf("go test -run '%s' -rapid.seed=%s -rapid.checks=%d", name, seed, fullAsked())
}

// historyOutcome is the outcome of an acquire that returned err.
func historyOutcome(err error) linearize.Outcome {
	if fullReason(err) == model.ReasonCancelled {
		return linearize.Cancelled
	}
	return linearize.OutcomeOf(err)
}

// historyGrant is the answer of an acquire.
func historyGrant(lease SubjectLease, err error) linearize.Answer {
	if err != nil {
		return linearize.Answer{Outcome: historyOutcome(err)}
	}
	return linearize.Answer{
		Outcome: linearize.Granted, Worker: uint64(lease.WorkerID()), Token: uint64(lease.Token()), Fresh: lease.Fresh(),
	}
}

// historyTold waits until the pool has told its Observer of everything.
func historyTold(s Subject) {
	if p, ok := schedCan[interface{ Stat() pool.Stat }](s); ok {
		recorded.Told(p.Stat)
	}
}

// historyDone is the answer of a call that returned, with an error or not.
func historyDone(err error) linearize.Answer {
	if err != nil {
		return linearize.Answer{Outcome: linearize.Failed}
	}
	return linearize.Answer{Outcome: linearize.Done}
}
