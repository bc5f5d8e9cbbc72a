package props

import (
	"testing"
	"time"
)

// searchSchedules looks for a finding as genVerifier.searchSchedules does.
func (f *genFar) searchSchedules(t *testing.T) (found *genFinding, total genTraffic, ran, asked int) {
	t.Helper()
	ctx, cancel := f.until(t)
	defer cancel()
	asked = genAsked()
	s := &genFarSearch{far: f, subtest: genScheduledName, asked: asked, seed: genSeed(), scheduled: true}
	for ctx.Err() == nil && s.given < asked && s.found == nil {
		s.sweep(ctx)
		if s.err != nil {
			t.Fatalf("props: %s: %v", f.v.target.Name, s.err)
		}
	}
	f.v.instrumented = f.v.instrumented || s.instrumented
	if s.found != nil {
		s.found.checks = s.ran
	}
	s.tell(t)
	return s.found, s.total, s.ran, asked
}

// searchRaces looks for a finding as genVerifier.searchRaces does. One child does it all, for
// its clients keep all processors busy; another follows it if it dies of what is known.
func (f *genFar) searchRaces(t *testing.T, seed uint64, checks int, limit time.Duration) (found *genFinding, total genTraffic, ran int) {
	t.Helper()
	ctx, cancel := f.until(t)
	defer cancel()
	began := time.Now()
	more := func() bool {
		return ctx.Err() == nil && (ran < checks || checks == 0 && time.Since(began) < limit)
	}
	for n := uint64(0); more(); n++ {
		ask := &genAsk{Do: genSearchIt, Subtest: raceName, Seed: seed, Real: true}
		if n > 0 {
			ask.Seed = genMix(seed, n)
		}
		if ask.Checks = checks - ran; checks == 0 {
			ask.Checks, ask.Budget = 0, limit-time.Since(began)
		}
		before := ran
		said, err := f.ask(ctx, ask, func(said *genSaid) {
			ran = before + said.Ran
			if report := f.v.target.Report; report != nil {
				report.Progress("generic", raceName, ran, max(ran, checks))
			}
		})
		if err == nil {
			ran = max(ran, before+said.Ran)
			total.add(said.Traffic)
			found, err = said.Finding.finding()
		}
		switch {
		case err == errGenStopped:
			return nil, total, ran
		case err != nil:
			t.Fatalf("props: %s: %v", f.v.target.Name, err)
		case found == nil:
			return nil, total, ran
		case !f.v.target.knows(found.violation.Rule):
			return found, total, ran
		}
		found = nil
		total.known++
		ran = max(ran, before+1)
	}
	return nil, total, ran
}
