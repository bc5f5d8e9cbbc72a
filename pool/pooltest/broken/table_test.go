package broken_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
	"github.com/poolproof/poolproof/props"
)

// tableChecks is how many checks each subtest may take to find a fault.
const tableChecks = 2000

// tableLine is one line of the table.
type tableLine struct {
	Fault broken.Fault
	props.Finding
}

// TestTable runs the machine on every broken pool. Each must be caught.
//
// A broken pool leaves goroutines behind, so the machine runs in child processes, half of
// the faults in each.
func TestTable(t *testing.T) {
	const shards = 2
	if shard := os.Getenv("POOLPROOF_TABLE"); shard != "" {
		huntShard(t, shard[0], shards)
		os.Exit(0) // without the search for leaked goroutines
	}
	lines := make(map[broken.Fault]tableLine)
	outputs := make(chan []byte, shards)
	for shard := range shards {
		go func() { outputs <- huntInChild(t, byte('0'+shard)) }()
	}
	for range shards {
		for line := range strings.Lines(string(<-outputs)) {
			var l tableLine
			if json.Unmarshal([]byte(line), &l) == nil && l.Fault != broken.None {
				lines[l.Fault] = l
			}
		}
	}
	printTable(t, lines)
}

// huntInChild runs one shard in a child process and returns its output.
func huntInChild(t *testing.T, shard byte) []byte {
	cmd := exec.Command(os.Args[0], "-test.run=^TestTable$", "-test.timeout=10m", "-rapid.seed=1")
	cmd.Env = append(os.Environ(), "POOLPROOF_TABLE="+string(shard))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("shard %c: %v\n%s", shard, err, out)
	}
	return out
}

// huntShard prints what is found in every n-th fault, as JSON lines.
func huntShard(t *testing.T, shard byte, n int) {
	for i, info := range broken.Faults() {
		if i%n != int(shard-'0') {
			continue
		}
		line, err := json.Marshal(tableLine{info.Fault, hunt(t, info)})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%s\n", line)
	}
}

func hunt(t *testing.T, info broken.Info) props.Finding {
	open := func(cfg pool.Config[*props.FullWorker]) (props.Subject, error) {
		p, err := broken.New(cfg, info.Fault)
		if err != nil {
			return nil, err
		}
		return props.SubjectOf(p, tally), nil
	}
	cfg := configFor(info.Needs)
	switch info.Fault {
	case broken.ExpiredSessionsStay, broken.UnboundSessionsStay:
		cfg.MaxSessions = 1 // from outside a forgotten entry shows in a full table only,
	case broken.OldEpochTouchesNew:
		cfg.HasTell = true // and the end of a session when its worker is told
	}
	return props.Hunt(t, props.PoolTarget{Name: info.Name, Open: open, Config: cfg}, tableChecks)
}

func tally(p *broken.Pool[*props.FullWorker]) props.Tally {
	c := p.Counts()
	return props.Tally{
		Live: c.Live, Starting: c.Starting, Idle: c.Idle, Checking: c.Checking, Leased: c.Leased,
		Stopping: c.Stopping, Waiting: c.Waiting,
	}
}

// configFor is the plainest configuration that a fault needs, with the operations that it needs.
func configFor(needs broken.Needs) *model.Config {
	when := func(needed bool, value int) int {
		if needed {
			return value
		}
		return 0
	}
	cfg := &model.Config{
		MaxSize: max(1, needs.MaxSize), StartConcurrency: max(1, needs.Parallel),
		BackoffMin: 1, BackoffMax: 4, HealthCheckFailures: max(1, needs.Failures),
		MinSize: when(needs.MinSize, 1), MaxWaiters: when(needs.MaxWaiters, 1),
		AcquireTimeout: when(needs.AcquireTimeout, 2), MaxIdleTime: when(needs.MaxIdleTime, 2),
		MaxLifetime: when(needs.MaxLifetime, 3), MaxLeases: when(needs.MaxLeases, 2),
		SessionTTL: when(needs.SessionTTL, 2), MaxSessions: when(needs.MaxSessions, 1),
		StopTimeout: when(needs.LateStop, 2), HealthCheckPeriod: when(needs.Check, 1),
		HasCheck: needs.Check, HasTell: needs.SessionEnded,
		Offer: model.Offer{
			Tries: true, Cancels: true, Discards: true, Ticks: true, Unusable: needs.Usable,
			EndSessions: needs.EndSession, Retires: needs.Retire, FailingStarts: needs.StartFails,
			FailingChecks: needs.CheckFails, FailingTells: needs.CheckFails,
			Close: needs.Shutdown, Force: needs.Shutdown,
		},
	}
	if needs.Resize {
		cfg.Offer.Resizes = []model.Size{{Min: 0, Max: 1}, {Min: 0, Max: 2}, {Min: 1, Max: 2}, {Min: 0, Max: 3}}
	}
	if needs.MaxLifetime || needs.MaxLeases {
		cfg.SessionTTL = 2 // required under Strict
	}
	if needs.Storm {
		cfg.StartConcurrency = 1
	}
	if len(needs.Affinities) > 0 {
		cfg.Affinity = model.Affinity(needs.Affinities[0])
	}
	return cfg
}

// printTable prints one line for each fault, and fails if one is missing.
func printTable(t *testing.T, lines map[broken.Fault]tableLine) {
	var b strings.Builder
	var lengths []int
	fmt.Fprintf(&b, "%-28s %-6s %-10s %-5s %6s %6s\n", "fault", "lesson", "caught by", "rule", "checks", "script")
	for _, info := range broken.Faults() {
		l := lines[info.Fault]
		if l.Subtest == "" {
			t.Errorf("%s (%s: %s) is not caught within %d checks of any subtest", info.Name, info.Lesson, info.Text, tableChecks)
			continue
		}
		lengths = append(lengths, l.Length)
		fmt.Fprintf(&b, "%-28s %-6s %-10s %-5s %6d %6d\n", info.Name, info.Lesson, l.Subtest, l.Rule, l.Checks+1, l.Length)
		if testing.Verbose() {
			fmt.Fprintf(&b, "    %s\n%s\n", l.Message, l.Script)
		}
	}
	t.Logf("\n%s", b.String())
	if len(lengths) == 0 {
		t.Fatal("nothing is caught")
	}
	slices.Sort(lengths)
	median := lengths[len(lengths)/2]
	t.Logf("%d of %d broken pools are caught; the median script has %d operations", len(lengths), len(broken.Faults()), median)
	if median > 6 {
		t.Errorf("the median shrunk script has %d operations, want at most 6", median)
	}
}
