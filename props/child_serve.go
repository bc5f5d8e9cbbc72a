package props

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/poolproof/poolproof/linearize/recorded"
)

// genChildVariable tells a process that it is a child, and of which call of Verify.
const genChildVariable = "POOLPROOF_CHILD"

// genRole is the value of genChildVariable, as JSON.
type genRole struct {
	Test   string `json:"test"`   // the test that called Verify
	Target string `json:"target"` // and the target's name

	// A test may verify pools of one name in several sizes or with several promises.
	Capacity int  `json:"capacity"`
	Spec     Spec `json:"spec"`
}

// role returns the one of children that serve this verifier.
func (v *genVerifier) role(t *testing.T) genRole {
	return genRole{Test: t.Name(), Target: v.target.Name, Capacity: v.target.Capacity, Spec: v.target.Spec}
}

// The descriptors of a child beside the usual three.
const (
	genAskFD   = 3 // a genAsk a line; at its end the parent is gone
	genSayFD   = 4 // a genSaid a line
	genAheadFD = 5 // a file to be mapped, see genAhead
)

// genRoleNow returns the role of this process; false if it is no child.
func genRoleNow() (role genRole, child bool, err error) {
	text, child := os.LookupEnv(genChildVariable)
	if !child {
		return role, false, nil
	}
	if err := json.Unmarshal([]byte(text), &role); err != nil {
		return role, true, fmt.Errorf("%s is for Verify itself; unset it: %w", genChildVariable, err)
	}
	return role, true, nil
}

// serve answers what the parent asks until that is gone, and ends the process.
func (v *genVerifier) serve(t *testing.T) {
	t.Helper()
	os.Unsetenv(genChildVariable)
	mem, err := genMapAhead()
	if err != nil {
		t.Fatalf("props: child: %v", err)
	}
	v.ahead = &genAhead{mem: mem}
	v.target.Report = nil // the parent's is told
	v.keeper = recorded.NewKeeper(t)
	v.say = json.NewEncoder(os.NewFile(genSayFD, "say"))
	v.progress(0) // a greeting
	asks := make(chan genAsk)
	go func() {
		dec := json.NewDecoder(os.NewFile(genAskFD, "ask"))
		for {
			var ask genAsk
			if dec.Decode(&ask) != nil {
				os.Exit(0)
			}
			asks <- ask
		}
	}()
	for ask := range asks {
		said := v.answer(t, &ask)
		said.Done = true
		if v.say.Encode(said) != nil {
			os.Exit(0)
		}
	}
}

// answer does what is asked.
func (v *genVerifier) answer(t *testing.T, ask *genAsk) (said genSaid) {
	t.Helper()
	v.target.RealTime = ask.Real
	var found *genFinding
	var err error
	switch ask.Do {
	case genSearchIt:
		found, said.Traffic, said.Ran, err = v.answerSearch(t, ask)
	case genReplayIt:
		var s genScript
		if s, err = parseScript(ask.Script); err == nil {
			found, said.Traffic = v.hastier(ask.Hasty).replayHere(t, &s, ask.Tries)
		}
	case genShrinkIt:
		if found, err = ask.Finding.finding(); err == nil && found != nil {
			var until time.Time
			if ask.Budget > 0 {
				until = time.Now().Add(ask.Budget)
			}
			found = v.shrinkHere(t, found, until)
		}
	default:
		err = fmt.Errorf("nobody can %q", ask.Do)
	}
	said.Finding, said.Instrumented = found.wire(), v.instrumented
	if err != nil {
		said.Error = err.Error()
	}
	return said
}

// answerSearch does as many checks as asked.
func (v *genVerifier) answerSearch(t *testing.T, ask *genAsk) (*genFinding, genTraffic, int, error) {
	t.Helper()
	if ask.Subtest == raceName {
		found, total, ran := v.searchRaces(t, ask.Seed, ask.Checks, ask.Budget)
		return found, total, ran, nil
	}
	checks := ask.Checks
	if testing.Short() {
		checks *= genShortens
	}
	for name, value := range map[string]string{
		"rapid.checks": strconv.Itoa(checks), "rapid.seed": strconv.FormatUint(ask.Seed, 10), "rapid.nofailfile": "true",
	} {
		if err := flag.Set(name, value); err != nil {
			return nil, genTraffic{}, 0, err
		}
	}
	if ask.Subtest == genScheduledName {
		found, total, ran, _ := v.searchSchedules(t)
		return found, total, ran, nil
	}
	for _, p := range genProfiles() {
		if p.name == ask.Subtest {
			p.prompt = ask.Prompt
			found, total, ran, _ := v.search(t, p)
			return found, total, ran, nil
		}
	}
	return nil, genTraffic{}, 0, fmt.Errorf("there is no subtest %q", ask.Subtest)
}

// hastier returns a verifier that takes a debt for a finding sooner, where that saves time.
func (v *genVerifier) hastier(hasty bool) *genVerifier {
	if !hasty || !v.target.RealTime {
		return v
	}
	h := &genVerifier{target: v.target, hang: v.hang, ahead: v.ahead}
	h.target.Patience = min(v.target.patience(), time.Second)
	return h
}

// progress tells the parent, if there is one, how far a search is.
func (v *genVerifier) progress(ran int) {
	const every = 20
	if v.say != nil && ran%every == 0 {
		_ = v.say.Encode(genSaid{Ran: ran})
	}
}

// better tells the parent, if there is one, of a shorter script.
func (v *genVerifier) better(f *genFinding) {
	if v.say != nil {
		_ = v.say.Encode(genSaid{Finding: f.wire()})
	}
}
