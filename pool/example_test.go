package pool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// speller is a worker that keeps state for its sessions.
type speller struct{ words map[pool.SessionID][]string }

func startSpeller(context.Context, pool.WorkerID) (*speller, error) {
	return &speller{words: map[pool.SessionID][]string{}}, nil
}

// At most four workers, started when they are needed; a session that is not used for ten
// minutes ends.
func ExamplePool() {
	p, err := pool.New(pool.Config[*speller]{
		Start:      startSpeller,
		MaxSize:    4,
		SessionTTL: 10 * time.Minute,
		SessionEnded: func(_ context.Context, s *speller, id pool.SessionID) error {
			delete(s.words, id)
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	lease, err := p.Acquire(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("worker", lease.WorkerID(), "of", p.Stat().Live())
	lease.Release()
	// Output:
	// worker 1 of 1
}

// A session keeps to one worker. Under Strict, the default, it is lost with its worker, and
// what it means to begin anew is the caller's to decide.
func ExamplePool_AcquireSession() {
	p, err := pool.New(pool.Config[*speller]{Start: startSpeller, MaxSize: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	use := func() {
		lease, err := p.AcquireSession(context.Background(), "user-42")
		if errors.Is(err, pool.ErrSessionLost) {
			fmt.Println("lost")
			return
		} else if err != nil {
			fmt.Println(err)
			return
		}
		defer lease.Release()
		fmt.Println("worker", lease.WorkerID(), "fresh:", lease.Fresh())
	}
	use()
	use()
	p.Retire(1, errors.New("out of memory")) // what a reaper says of a dead process
	use()
	p.EndSession("user-42")
	use()
	// Output:
	// worker 1 fresh: true
	// worker 1 fresh: false
	// lost
	// worker 2 fresh: true
}

// Do ends the lease in every case: an error releases the worker, a panic discards it.
func ExamplePool_Do() {
	p, err := pool.New(pool.Config[*speller]{Start: startSpeller, MaxSize: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	for _, word := range []string{"to", "be", ""} {
		err := p.Do(context.Background(), "hamlet", func(_ context.Context, s *speller) error {
			if word == "" {
				return errors.New("no word")
			}
			s.words["hamlet"] = append(s.words["hamlet"], word)
			fmt.Println(strings.Join(s.words["hamlet"], " "))
			return nil
		})
		if err != nil {
			fmt.Println("error:", err)
		}
	}
	fmt.Println("idle workers:", p.Stat().Idle)
	// Output:
	// to
	// to be
	// error: no word
	// idle workers: 1
}

// Each refusal stands for a decision. Nobody needs to look at an error's text.
func Example_errors() {
	decide := func(err error) string {
		var start *pool.StartError
		switch {
		case err == nil:
			return "go on"
		case errors.Is(err, pool.ErrClosed):
			return "give up"
		case errors.Is(err, pool.ErrSessionLost):
			return "end the session, rebuild its state"
		case errors.Is(err, pool.ErrSessionLimit):
			return "end a session, or turn the user away"
		case errors.As(err, &start):
			return "report the fault, retry later"
		case errors.Is(err, pool.ErrSaturated), errors.Is(err, pool.ErrNotAvailable), errors.Is(err, pool.ErrAcquireTimeout):
			return "retry later, or shed load"
		default:
			return "the caller's own context has ended"
		}
	}
	p, err := pool.New(pool.Config[*speller]{Start: startSpeller, MaxSize: 1, MaxSessions: 1, AcquireTimeout: time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = p.TryAcquire() // nothing has started yet
	fmt.Println(decide(err))
	err = p.Ready(context.Background())
	fmt.Println(decide(err))
	lease, err := p.AcquireSession(context.Background(), "a")
	fmt.Println(decide(err))
	_, err = p.Acquire(context.Background())
	fmt.Println(decide(err))
	_, err = p.AcquireSession(context.Background(), "b")
	fmt.Println(decide(err))
	_, err = p.Acquire(done)
	fmt.Println(decide(err))
	lease.Discard(errors.New("it answers nonsense"))
	_, err = p.AcquireSession(context.Background(), "a")
	fmt.Println(decide(err))
	p.Close()
	_, err = p.Acquire(context.Background())
	fmt.Println(decide(err))
	// Output:
	// retry later, or shed load
	// go on
	// go on
	// retry later, or shed load
	// end a session, or turn the user away
	// the caller's own context has ended
	// end the session, rebuild its state
	// give up
}
