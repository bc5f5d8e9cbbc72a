package props_test

import (
	"testing"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
	"github.com/poolproof/poolproof/props"
)

// openPlain opens the plain pool, wrong in the way of fault.
func openPlain(fault broken.Fault) func(pool.Config[*props.FullWorker]) (props.Subject, error) {
	return func(cfg pool.Config[*props.FullWorker]) (props.Subject, error) {
		p, err := broken.New(cfg, fault)
		if err != nil {
			return nil, err
		}
		return props.SubjectOf(p, func(p *broken.Pool[*props.FullWorker]) props.Tally {
			c := p.Counts()
			return props.Tally{
				Live: c.Live, Starting: c.Starting, Idle: c.Idle, Checking: c.Checking, Leased: c.Leased,
				Stopping: c.Stopping, Waiting: c.Waiting,
			}
		}), nil
	}
}

func TestVerifyPool(t *testing.T) {
	props.VerifyPool(t, props.PoolTarget{Name: "pool", Open: props.OpenPool})
}

func TestVerifyPlainPool(t *testing.T) {
	props.VerifyPool(t, props.PoolTarget{Name: "plain", Open: openPlain(broken.None)})
}
