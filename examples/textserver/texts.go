package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

// codeWrongTurn is WRONG_TURN of worker/textworker.py.
const codeWrongTurn = 1

// attempts is how many workers at most get to see one text, if those before die of it. A
// worker that dies takes its conversations along, so a text that kills shall not get far.
const attempts = 2

//go:embed worker/textworker.py worker/classifier.py worker/corpus.tsv
var program embed.FS

// texts is a pool of classifiers, and the conversations that they follow. Its methods may
// be called concurrently.
type texts struct {
	pool   workerPool
	client *process.Client
	limit  time.Duration // of a stream, the wait for a worker included
	dir    string        // the worker's program
	failed chan error    // holds why a start failed, if one did

	mu      sync.Mutex
	workers map[pool.WorkerID]*figures // guarded by mu: some may be gone
}

// opinion is what a worker says of a text or a conversation.
type opinion struct {
	Turn     int           `json:"turn,omitempty"` // of a conversation, counted from 1
	Label    *string       `json:"label"`          // null if no word was known
	Labels   []topic       `json:"labels"`         // the likeliest first
	Instance string        `json:"instance"`       // drawn by the process that answered, when it began
	Worker   pool.WorkerID `json:"worker"`         // the same incarnation, as the pool counts
}

// topic is how much speaks for a label; the scores of a conversation are the sums of
// those of its messages.
type topic struct {
	Label       string  `json:"label"`
	Score       float64 `json:"score"`
	Probability float64 `json:"probability"`
}

// message is the params of the worker's methods.
type message struct {
	Conversation string `json:"conversation,omitempty"`
	Text         string `json:"text"`
	Turn         int    `json:"turn,omitempty"`
}

// turnError reports that a message was not the turn that it claimed to be, and so changed
// nothing.
type turnError struct{ given, want int }

func (e *turnError) Error() string { return fmt.Sprintf("turn %d was sent, want %d", e.given, e.want) }

// openTexts begins to start the workers. The caller owes a close if there is no error.
func openTexts(ctx context.Context, o options, logger *slog.Logger) (*texts, error) {
	dir, err := os.MkdirTemp("", "textserver-")
	if err != nil {
		return nil, err
	}
	t := &texts{
		dir: dir, limit: o.wait + o.call,
		failed: make(chan error, 1), workers: make(map[pool.WorkerID]*figures),
	}
	if err := t.start(ctx, o, logger); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return t, nil
}

func (t *texts) start(ctx context.Context, o options, logger *slog.Logger) error {
	worker, err := fs.Sub(program, "worker")
	if err != nil {
		return err
	}
	// The library goes beside the program that imports it.
	if err := errors.Join(os.CopyFS(t.dir, worker), python.Write(t.dir)); err != nil {
		return err
	}
	corpus := filepath.Join(t.dir, "corpus.tsv")
	if o.corpus != "" {
		if corpus, err = filepath.Abs(o.corpus); err != nil {
			return err
		}
	}
	command, err := python.Command(ctx, "-S", "-E", "-u", filepath.Join(t.dir, "textworker.py"), corpus)
	if err != nil {
		return err
	}
	// The pool does not list its workers, so each is met when it has started.
	open := o.open
	if open == nil {
		open = openPool
	}
	t.pool, err = open(process.Config{Command: command, CancelGrace: o.call}, pool.Config[*process.Worker]{
		MinSize:           o.workers,
		MaxSize:           o.workers,
		MaxWaiters:        o.queue,
		AcquireTimeout:    o.wait,
		StartTimeout:      o.start,
		StartBackoff:      pool.Backoff{Max: startPause},
		Affinity:          o.affinity,
		SessionTTL:        o.ttl,
		MaxSessions:       o.conversations,
		HealthCheckPeriod: time.Minute,
		Observer:          t.observe,
		Logger:            logger,
	}, t.meet)
	if err != nil {
		return err
	}
	// A call that is given up costs the worker, with all its conversations. Nobody shall
	// bring that about by hanging up, so only the time limit ends a call.
	t.client = process.NewClient(t.pool, process.ClientConfig{Attempts: attempts, CallTimeout: o.call})
	return nil
}

// workerPool is what the service needs of a pool; *pool.Pool is one.
type workerPool interface {
	process.Acquirer
	EndSession(id pool.SessionID)
	Ready(ctx context.Context) error
	Shutdown(ctx context.Context) error
	Close() error
	Stat() pool.Stat
}

// openPool opens the pool; meet is called with each worker that has started.
func openPool(cfg process.Config, poolCfg pool.Config[*process.Worker], meet func(*process.Worker) *process.Worker) (workerPool, error) {
	return process.NewPoolOf(cfg, poolCfg, meet, func(w *process.Worker) *process.Worker { return w })
}

// observe is told what happens in the pool.
func (t *texts) observe(event pool.Event) {
	if event.Kind == pool.WorkerStartFailed {
		select {
		case t.failed <- event.Err:
		default: // the first one is enough
		}
	}
}

// ready waits until all workers have learnt their corpus. Its error says why one could
// not: the pool would try again, but what is wrong at first is wrong for good, mostly.
func (t *texts) ready(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- t.pool.Ready(ctx) }()
	select {
	case err := <-ready:
		return err
	case err := <-t.failed:
		cancel()
		<-ready
		return fmt.Errorf("a worker does not start: %w", err)
	}
}

// close ends the workers, those that are at work when ctx ends by force, and removes
// their program.
func (t *texts) close(ctx context.Context) error {
	return errors.Join(t.pool.Shutdown(ctx), os.RemoveAll(t.dir))
}

// classify says what one text is about. ctx bounds the wait for a worker. If the worker
// dies, another one is asked: it would say the same.
func (t *texts) classify(ctx context.Context, text string) (opinion, error) {
	return t.ask(ctx, "", &process.Request{Method: "classify", Params: message{Text: text}, Idempotent: true})
}

// explain streams the words of a text that tell most about its topic. ctx bounds all of
// it; a stream that is given up costs no worker. The caller owes the stream a Close, and
// then the release of its context.
func (t *texts) explain(ctx context.Context, text string) (*process.Stream, context.CancelFunc, error) {
	ctx, cancel := context.WithTimeout(ctx, t.limit)
	s, by, err := t.client.Stream(ctx, "", &process.Request{Method: "explain", Params: message{Text: text}})
	t.count(by)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return s, cancel, nil
}

// say adds a text to a conversation. If turn is not 0 it must be the number that the text
// gets, or else there is a *turnError. ctx bounds the wait for the conversation's worker.
func (t *texts) say(ctx context.Context, conversation, text string, turn int) (opinion, error) {
	o, err := t.ask(ctx, pool.SessionID(conversation), &process.Request{
		Method: "say", Params: message{Conversation: conversation, Text: text, Turn: turn},
	})
	var remote *process.RemoteError
	if errors.As(err, &remote) && remote.Code == codeWrongTurn {
		var right struct{ Turn int }
		if err := json.Unmarshal(remote.Data, &right); err != nil {
			return opinion{}, fmt.Errorf("the worker's data on a wrong turn: %w", err)
		}
		return opinion{}, &turnError{given: turn, want: right.Turn}
	}
	return o, err
}

// forget ends a conversation; its worker drops it before it serves anybody else.
func (t *texts) forget(conversation string) { t.pool.EndSession(pool.SessionID(conversation)) }

// ask has a worker give its opinion: the conversation's own, if there is one.
func (t *texts) ask(ctx context.Context, conversation pool.SessionID, req *process.Request) (o opinion, err error) {
	by, err := t.client.Exchange(ctx, conversation, req, &process.Reply{Result: &o})
	t.count(by)
	o.Worker = by.Worker
	return o, err
}

// figures are what is known of a worker.
type figures struct {
	Worker        pool.WorkerID `json:"worker"`
	PID           int           `json:"pid"`
	Calls         int           `json:"calls"`
	ResidentBytes int           `json:"resident_bytes"`

	gone <-chan struct{}
}

// meet notes a worker that has started.
func (t *texts) meet(w *process.Worker) *process.Worker {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pruneLocked()
	t.workers[w.ID()] = &figures{Worker: w.ID(), PID: w.PID(), gone: w.Done()}
	return w
}

// count counts a call.
func (t *texts) count(by process.Served) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.workers[by.Worker]; f != nil {
		f.Calls++
	}
}

// pruneLocked forgets the workers that are gone. The caller holds the lock.
func (t *texts) pruneLocked() {
	for id, f := range t.workers {
		select {
		case <-f.gone:
			delete(t.workers, id)
		default:
		}
	}
}

// stat returns the pool's figures, and those of the workers that live.
func (t *texts) stat() (pool.Stat, []figures) {
	t.mu.Lock()
	t.pruneLocked()
	workers := make([]figures, 0, len(t.workers))
	for _, f := range t.workers {
		workers = append(workers, *f)
	}
	t.mu.Unlock()
	for i := range workers {
		workers[i].ResidentBytes = residentBytes(workers[i].PID)
	}
	slices.SortFunc(workers, func(a, b figures) int { return int(a.Worker) - int(b.Worker) })
	return t.pool.Stat(), workers
}

// residentBytes returns how much memory a process occupies, 0 if that cannot be known.
func residentBytes(pid int) int {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident int
	if _, err := fmt.Sscan(string(content), &size, &resident); err != nil {
		return 0
	}
	return resident * os.Getpagesize()
}
