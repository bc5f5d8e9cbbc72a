package pooltest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Use is what one acquire of a session came to.
type Use struct {
	Session pool.SessionID
	Epoch   int   // of the session: its ends so far, by EndSession or its time to live
	Err     error // of the acquire; the fields below are then zero

	Worker     pool.WorkerID
	Token      pool.Token
	Fresh      bool
	Begin, End time.Time // the lease: from after the acquire to before the release
}

// Granted is a lease as Uses needs it; pool.Lease is one.
type Granted interface {
	WorkerID() pool.WorkerID
	Token() pool.Token
	Fresh() bool
}

// Uses records uses for VerifyAffinity. The zero Uses is empty and ready; its methods
// may be called by any goroutine.
type Uses struct {
	mu    sync.Mutex
	uses  []*Use
	epoch map[pool.SessionID]int
}

// Begin records the outcome of an acquire. If it was granted the caller must call end
// just before it releases or discards the lease, and not after.
func (u *Uses) Begin(session pool.SessionID, lease Granted, err error) (end func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	use := &Use{Session: session, Epoch: u.epoch[session], Err: err}
	u.uses = append(u.uses, use)
	if err != nil {
		return func() {}
	}
	use.Worker, use.Token, use.Fresh, use.Begin = lease.WorkerID(), lease.Token(), lease.Fresh(), time.Now()
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		use.End = time.Now()
	}
}

// Ended records that a session has ended. It must not race acquires of that session.
func (u *Uses) Ended(session pool.SessionID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.epoch == nil {
		u.epoch = map[pool.SessionID]int{}
	}
	u.epoch[session]++
}

// All returns the uses so far. The caller owns the result.
func (u *Uses) All() []Use {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make([]Use, len(u.uses))
	for i, use := range u.uses {
		all[i] = *use
	}
	return all
}

// VerifyAffinity fails the test if a record of uses breaks a rule: a worker leased to
// two at once (I1), tokens that repeat, and, for each epoch of a session in the order of
// tokens (I8):
//
//   - Strict: all leases are on one worker; the first alone is fresh.
//   - Sticky: a lease is fresh exactly when its worker is not that of the lease before;
//     a worker that was left so is never granted to anyone again; nothing is lost.
//   - Prefer: a lease is fresh exactly when its worker is not that of the lease before;
//     nothing is lost.
//
// It also fails if no epoch has two leases, for then it has proved nothing. uses must be
// complete but for anonymous leases.
func VerifyAffinity(t testing.TB, mode pool.Affinity, uses []Use) {
	t.Helper()
	granted := slices.DeleteFunc(slices.Clone(uses), func(u Use) bool { return u.Err != nil })
	slices.SortStableFunc(granted, func(a, b Use) int { return cmp.Compare(a.Token, b.Token) })
	var broken []string
	report := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	verifyExclusive(granted, report)
	telling := 0
	for _, life := range lives(granted) {
		if len(life) > 1 {
			telling++
		}
		verifyFresh(life, report)
		switch mode {
		case pool.Strict:
			verifyStrict(life, report)
		case pool.Sticky:
			verifySticky(life, granted, report)
		}
	}
	verifyLosses(mode, uses, report)
	if telling == 0 {
		report("of %d uses, %d granted, no session has two leases in one epoch: nothing is proved", len(uses), len(granted))
	}
	for _, text := range broken {
		t.Errorf("affinity %v: %s", mode, text)
	}
}

// lives groups uses by session and epoch, and keeps their order in each group.
func lives(granted []Use) (groups [][]Use) {
	type life struct {
		session pool.SessionID
		epoch   int
	}
	index := map[life]int{}
	for _, u := range granted {
		key := life{u.Session, u.Epoch}
		i, ok := index[key]
		if !ok {
			i = len(groups)
			index[key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], u)
	}
	return groups
}

// verifyExclusive checks I1 and tokens.
func verifyExclusive(granted []Use, report func(string, ...any)) {
	last := map[pool.WorkerID]Use{}
	for i, u := range granted {
		if i > 0 && granted[i-1].Token == u.Token {
			report("token %d was given twice, to %s and to %s", u.Token, granted[i-1], u)
		}
		if u.End.IsZero() || u.End.Before(u.Begin) {
			report("%s has no end", u)
		}
		if before, ok := last[u.Worker]; ok && before.End.After(u.Begin) {
			report("I1: %s began when %s had not ended", u, before)
		}
		if before := last[u.Worker]; !u.End.Before(before.End) {
			last[u.Worker] = u
		}
	}
}

// verifyFresh checks that a lease is fresh exactly when it is on another worker than
// the one before.
func verifyFresh(life []Use, report func(string, ...any)) {
	for i, u := range life {
		moved := i == 0 || life[i-1].Worker != u.Worker
		switch {
		case u.Fresh && !moved:
			report("I8: %s is fresh, but the session was on that worker already", u)
		case !u.Fresh && moved && i == 0:
			report("I8: %s is the first and not fresh", u)
		case !u.Fresh && moved:
			report("I8: %s is not fresh, but the session was on worker %d", u, life[i-1].Worker)
		}
	}
}

func verifyStrict(life []Use, report func(string, ...any)) {
	for _, u := range life[1:] {
		if u.Worker != life[0].Worker {
			report("I8: %s is on another worker than %s", u, life[0])
		}
	}
}

// verifySticky checks that a session leaves only workers that are gone.
func verifySticky(life, granted []Use, report func(string, ...any)) {
	for i, u := range life {
		if i == 0 || life[i-1].Worker == u.Worker {
			continue
		}
		left := life[i-1].Worker
		for _, later := range granted {
			if later.Worker == left && later.Token > u.Token {
				report("I8: %s left worker %d, which %s got later", u, left, later)
				break
			}
		}
	}
}

// verifyLosses checks that only strict sessions are lost. That lost ones stay so follows
// from verifyStrict: any further lease would be on another worker.
func verifyLosses(mode pool.Affinity, uses []Use, report func(string, ...any)) {
	for _, u := range uses {
		if mode != pool.Strict && errors.Is(u.Err, pool.ErrSessionLost) {
			report("I8: %s: only strict sessions are ever lost", u)
		}
	}
}

// String describes the use.
func (u Use) String() string {
	if u.Err != nil {
		return fmt.Sprintf("acquire of session %q (epoch %d): %v", u.Session, u.Epoch, u.Err)
	}
	return fmt.Sprintf("lease %d of session %q (epoch %d) on worker %d", u.Token, u.Session, u.Epoch, u.Worker)
}
