package pooltest_test

import (
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// use is a lease that ends before the one with the next token begins.
func use(session pool.SessionID, token pool.Token, worker pool.WorkerID, fresh bool) pooltest.Use {
	begin := time.Unix(int64(token), 0)
	return pooltest.Use{Session: session, Worker: worker, Token: token, Fresh: fresh, Begin: begin, End: begin.Add(time.Millisecond)}
}

func TestVerifyAffinityRejects(t *testing.T) {
	overlong := use("b", 1, 1, true)
	overlong.End = overlong.Begin.Add(time.Hour)
	open := use("a", 3, 1, false)
	open.End = time.Time{}
	lost := pooltest.Use{Session: "a", Err: pool.ErrSessionLost}
	good := []pooltest.Use{use("z", 100, 9, true), use("z", 101, 9, false)}
	for _, c := range []struct {
		part string
		mode pool.Affinity
		uses []pooltest.Use
	}{
		{"is on another worker than", pool.Strict, []pooltest.Use{use("a", 1, 1, true), use("a", 2, 2, true)}},
		{"is fresh, but the session was on that worker", pool.Strict, []pooltest.Use{use("a", 1, 1, true), use("a", 2, 1, true)}},
		{"is the first and not fresh", pool.Strict, []pooltest.Use{use("a", 1, 1, false)}},
		{"is not fresh, but the session was on worker 1", pool.Sticky, []pooltest.Use{use("a", 1, 1, true), use("a", 2, 2, false)}},
		{"left worker 1, which", pool.Sticky, []pooltest.Use{use("a", 1, 1, true), use("a", 2, 2, true), use("b", 3, 1, true)}},
		{"only strict sessions are ever lost", pool.Sticky, []pooltest.Use{use("a", 1, 1, true), lost}},
		{"only strict sessions are ever lost", pool.Prefer, []pooltest.Use{use("a", 1, 1, true), lost}},
		{"I1: ", pool.Prefer, []pooltest.Use{overlong, use("a", 2, 1, true)}},
		{"token 2 was given twice", pool.Prefer, []pooltest.Use{use("a", 2, 1, true), use("b", 2, 2, true)}},
		{"has no end", pool.Strict, []pooltest.Use{use("a", 1, 1, true), open}},
	} {
		wantFailure(t, func(t testing.TB) { pooltest.VerifyAffinity(t, c.mode, append(good, c.uses...)) }, c.part)
	}
	wantFailure(t, func(t testing.TB) {
		pooltest.VerifyAffinity(t, pool.Strict, []pooltest.Use{use("a", 1, 1, true), use("b", 2, 2, true)})
	}, "nothing is proved")
}

func TestVerifyAffinityAccepts(t *testing.T) {
	second := use("a", 3, 2, true)
	second.Epoch = 1
	for mode, uses := range map[pool.Affinity][]pooltest.Use{
		pool.Strict: {use("a", 1, 1, true), use("a", 2, 1, false), second, {Session: "b", Err: pool.ErrSessionLost}},
		pool.Sticky: {use("a", 1, 1, true), use("b", 2, 1, true), use("a", 3, 2, true), use("a", 4, 2, false), use("b", 5, 3, true)},
		pool.Prefer: {use("a", 1, 1, true), use("a", 2, 2, true), use("a", 3, 1, true), use("b", 4, 2, true)},
	} {
		wantSuccess(t, func(t testing.TB) { pooltest.VerifyAffinity(t, mode, uses) })
	}
}

// The pool keeps the rules that the record is judged by.
func TestPoolKeepsAffinity(t *testing.T) {
	for _, mode := range []pool.Affinity{pool.Strict, pool.Sticky, pool.Prefer} {
		t.Run(mode.String(), func(t *testing.T) {
			p, fakes := newPool(t, 3, func(cfg *pool.Config[*pooltest.Worker]) { cfg.Affinity = mode })
			var uses pooltest.Uses
			sessions := []pool.SessionID{"a", "b", "c", "d"}
			result := pooltest.Concurrently(t, 8, 50, func(op *pooltest.Op) error {
				id := sessions[(op.Client+op.Number)%len(sessions)]
				l, err := p.AcquireSession(op.Context(), id)
				end := uses.Begin(id, l, err)
				if err != nil {
					return err
				}
				op.Hold(func() { err = l.Worker().Use(nil) })
				if op.Client == 0 && op.Number == 25 {
					fakes.Kill(p, l.WorkerID())
				}
				end()
				l.Release()
				return err
			})
			if n := result.Outcomes[pooltest.Succeeded]; n+result.Outcomes[pooltest.SessionLost] != 400 {
				t.Errorf("%v, want 400 successes and losses", result)
			}
			pooltest.VerifyAffinity(t, mode, uses.All())
		})
	}
}
