package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Defaults of the Config fields.
const (
	DefaultCloseGrace = 2 * time.Second
	DefaultTermGrace  = 2 * time.Second
	DefaultKillGrace  = 2 * time.Second
)

// Config says how to start, talk to and stop workers. Exactly one of Command and Dial
// is required.
type Config struct {
	// Command is the program and its arguments. A program without a slash is looked up
	// in the host's PATH.
	Command []string
	// Dial, in place of Command, gives the channel to a worker that is no process of
	// ours, such as one end of a net.Pipe that package worker serves. It should return
	// when ctx ends. The Worker owns the channel; closing it must unblock its reads and
	// writes.
	Dial func(ctx context.Context, id pool.WorkerID) (io.ReadWriteCloser, error)

	// Dir is the process's working directory. Empty: the host's.
	Dir string
	// Env lists all of the process's environment besides PATH, which it inherits unless
	// listed, and ChannelVariable. An entry "KEY=value" sets a variable; "KEY" alone
	// hands on the host's value, if there is one.
	Env []string
	// Stdio makes standard input and output the channel, for programs that cannot use
	// descriptors 3 and 4. Then only standard error is logged.
	Stdio bool

	// FrameLimit bounds a frame's body in bytes, in both directions. Zero:
	// DefaultFrameLimit. Range: up to 2 GiB - 1.
	FrameLimit int

	// CloseGrace is how long Stop waits after closing the channel. Zero:
	// DefaultCloseGrace.
	CloseGrace time.Duration
	// TermGrace is how long Stop waits after SIGTERM. Zero: DefaultTermGrace.
	TermGrace time.Duration
	// KillGrace is how long Stop, or a failed Start, waits after SIGKILL. Zero:
	// DefaultKillGrace. The three together should fit into pool.Config.StopTimeout.
	KillGrace time.Duration

	// Logger gets what the processes print, line by line, with the worker's ID. It
	// should be fast: while it blocks, so do workers that print, and their ends. Nil:
	// discarded.
	Logger *slog.Logger
	// OnExit is told, once and on a goroutine of its own, that a started worker is of
	// no more use although Stop has not been called: its process exited, or its channel
	// broke. cause wraps ErrBroken, and *ExitError where the process exited. The worker
	// must still be stopped. Nil: nobody is told.
	OnExit func(id pool.WorkerID, cause error)
}

// withDefaults returns cfg with every zero value that means a default replaced.
func (cfg Config) withDefaults() Config {
	if cfg.FrameLimit == 0 {
		cfg.FrameLimit = DefaultFrameLimit
	}
	if cfg.CloseGrace == 0 {
		cfg.CloseGrace = DefaultCloseGrace
	}
	if cfg.TermGrace == 0 {
		cfg.TermGrace = DefaultTermGrace
	}
	if cfg.KillGrace == 0 {
		cfg.KillGrace = DefaultKillGrace
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// validate reports every complaint about a Config whose defaults are filled in.
func (cfg *Config) validate() error {
	var errs []error
	complain := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("process: Config."+format, args...))
		}
	}
	complain(len(cfg.Command) == 0 && cfg.Dial == nil, "Command and Dial are both missing; one is required")
	complain(len(cfg.Command) > 0 && cfg.Dial != nil, "Command and Dial are both set; only one may be")
	complain(len(cfg.Command) > 0 && cfg.Command[0] == "", "Command[0] is empty; it must name a program")
	complain(cfg.FrameLimit < 0 || cfg.FrameLimit > maxFrameLimit,
		"FrameLimit is %d; it must be from 0 to %d", cfg.FrameLimit, maxFrameLimit)
	complain(cfg.CloseGrace < 0, "CloseGrace is %v; it must not be negative", cfg.CloseGrace)
	complain(cfg.TermGrace < 0, "TermGrace is %v; it must not be negative", cfg.TermGrace)
	complain(cfg.KillGrace < 0, "KillGrace is %v; it must not be negative", cfg.KillGrace)
	for _, entry := range cfg.Env {
		name, _, _ := strings.Cut(entry, "=")
		complain(name == "", "Env has the entry %q; it must have a name", entry)
		complain(name == ChannelVariable, "Env sets %s; the channel is chosen by Stdio", ChannelVariable)
		complain(strings.ContainsRune(entry, 0), "Env has the entry %q; it must not hold a zero byte", entry)
	}
	return errors.Join(errs...)
}

// environment returns all variables of the process; lookup finds the host's.
func (cfg *Config) environment(lookup func(string) (string, bool)) []string {
	channel := "3,4"
	if cfg.Stdio {
		channel = "0,1"
	}
	env := []string{ChannelVariable + "=" + channel}
	hasPath := false
	for _, entry := range cfg.Env {
		name, _, set := strings.Cut(entry, "=")
		hasPath = hasPath || name == "PATH"
		if set {
			env = append(env, entry)
		} else if value, ok := lookup(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if path, ok := lookup("PATH"); ok && !hasPath {
		env = append(env, "PATH="+path)
	}
	return env
}

// open makes the channel to a new worker and, unless that comes from Dial, its process.
func (cfg *Config) open(ctx context.Context, id pool.WorkerID) (io.ReadWriteCloser, *osProcess, error) {
	if cfg.Dial != nil {
		channel, err := cfg.Dial(ctx, id)
		return channel, nil, err
	}
	return launch(cfg, id, cfg.environment(os.LookupEnv))
}
