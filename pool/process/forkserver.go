package process

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// DefaultAnswerTimeout is the default of ForkConfig.AnswerTimeout.
const DefaultAnswerTimeout = 10 * time.Second

// ErrForkServerClosed reports that a worker was wanted of a ForkServer after its Close.
// Retrying cannot help.
var ErrForkServerClosed = errors.New("process: fork server closed")

// ForkConfig says how to start a fork server. Command is required.
type ForkConfig struct {
	// Command is the program and its arguments, as in Config.
	Command []string

	// The fields below mean what they mean in Config. Its workers inherit them; what is
	// allowed to each worker is so to the server as well.

	Dir          string
	Env          []string
	AddressSpace int64
	OpenFiles    int
	CoreDumps    bool
	Umask        *fs.FileMode
	Nice         int

	// StartTimeout bounds the time from the start of the server until it says that it
	// is ready. Zero: pool.DefaultStartTimeout.
	StartTimeout time.Duration
	// AnswerTimeout is what the server may take to fork or to reap. If it takes longer
	// it is stuck: it is killed, and its workers with it. Zero: DefaultAnswerTimeout.
	AnswerTimeout time.Duration

	// CloseGrace, TermGrace and KillGrace bound the steps of Close. Zero: as in Config.
	CloseGrace, TermGrace, KillGrace time.Duration

	// Logger gets what the server prints, as in Config, up to DefaultLogRate. Nil:
	// discarded.
	Logger *slog.Logger
}

func (cfg *ForkConfig) program() program {
	return program{
		command: cfg.Command, dir: cfg.Dir, env: cfg.Env,
		addressSpace: cfg.AddressSpace, openFiles: cfg.OpenFiles, coreDumps: cfg.CoreDumps,
		umask: cfg.Umask, nice: cfg.Nice,
	}
}

// withDefaults returns cfg with every zero value that means a default replaced.
func (cfg ForkConfig) withDefaults() ForkConfig {
	cfg.StartTimeout = cmp.Or(cfg.StartTimeout, pool.DefaultStartTimeout)
	cfg.AnswerTimeout = cmp.Or(cfg.AnswerTimeout, DefaultAnswerTimeout)
	cfg.CloseGrace = cmp.Or(cfg.CloseGrace, DefaultCloseGrace)
	cfg.TermGrace = cmp.Or(cfg.TermGrace, DefaultTermGrace)
	cfg.KillGrace = cmp.Or(cfg.KillGrace, DefaultKillGrace)
	cfg.Logger = contained(cfg.Logger)
	return cfg
}

// validate reports every complaint.
func (cfg *ForkConfig) validate() error {
	var errs []error
	complain := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("process: ForkConfig."+format, args...))
		}
	}
	complain(len(cfg.Command) == 0, "Command is missing; it is required")
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"StartTimeout", cfg.StartTimeout},
		{"AnswerTimeout", cfg.AnswerTimeout},
		{"CloseGrace", cfg.CloseGrace},
		{"TermGrace", cfg.TermGrace},
		{"KillGrace", cfg.KillGrace},
	} {
		complain(f.value < 0, "%s is %v; it must not be negative", f.name, f.value)
	}
	prog := cfg.program()
	return errors.Join(append(errs, prog.complaints("ForkConfig"))...)
}

// ForkServer is a process that loads once what its workers need, and forks for each of
// them: Config.Fork names it. It is started when the first worker is, and anew when it has
// ended and another worker is wanted. When it ends, so do its workers.
//
// It may serve several pools, and all its methods may be called concurrently. Whoever made
// it must Close it, after the pools.
type ForkServer struct {
	cfg   ForkConfig
	close func() error

	mu     sync.Mutex
	run    *forkRun // guarded by mu: the latest incarnation, nil before the first
	closed bool     // guarded by mu
}

// NewForkServer checks cfg, reporting all complaints joined, and returns a server that has
// yet to be started. It does not block.
func NewForkServer(cfg ForkConfig) (*ForkServer, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &ForkServer{cfg: cfg.withDefaults()}
	s.close = sync.OnceValue(s.shutdown)
	return s, nil
}

// PID returns the process's ID, or 0 if none runs.
func (s *ForkServer) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return 0
	}
	return s.run.pid()
}

// Close ends the server and with it every worker that it has forked and that was not
// stopped. It blocks until all are gone: it closes the server's socket and waits for
// ForkConfig.CloseGrace, then for TermGrace after SIGTERM and KillGrace after SIGKILL. The error is an *ExitError if the server had to be killed or failed while it
// stopped, and another if something is not gone even so. Starts that wait for the server
// fail with ErrForkServerClosed, as do later ones. Close may be called again and returns
// the same.
func (s *ForkServer) Close() error { return s.close() }
