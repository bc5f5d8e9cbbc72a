package worker

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"time"

	"github.com/poolproof/poolproof/pool/process"
)

// Item is what the demo's put and get are about.
type Item struct {
	Session string          `json:"session"`
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value,omitempty"`
}

// Demo returns the methods of the demo worker, which python/demo.py has too, beside those of
// Mischief:
//
//   - echo returns its params;
//   - pid returns the process's ID;
//   - put stores a value under a session and a key, and get returns it, or null;
//   - session_ended forgets a session;
//   - sleep returns after so many seconds, and nap too, but it can be cancelled;
//   - raw_echo returns its payload;
//   - count streams the numbers below n, each with a payload of size bytes if size is
//     above 0, and then returns n;
//   - steps sends n times the progress {"step":i} and returns n;
//   - fail answers with an error of that code and message, and data;
//   - log sends a message to the host's log;
//   - crash calls exit with a code, in the middle of the call. A nil exit is os.Exit;
//     where the worker shares a process with the host, exit must close the channel.
//
// The methods share state and serve one channel. DemoOptions belong to them.
func Demo(exit func(code int)) map[string]Method {
	if exit == nil {
		exit = os.Exit
	}
	sessions := make(map[string]map[string]json.RawMessage)
	return map[string]Method{
		"raw_echo": RawFunc(func(_ context.Context, payload []byte) ([]byte, error) { return payload, nil }),
		"count":    StreamFunc(count),
		"steps":    Func(steps),
		"nap":      Func(sleep),
		"fail":     Func(fail),
		"log":      Func(logMessage),
		"echo": Func(func(_ context.Context, params json.RawMessage) (json.RawMessage, error) {
			return params, nil
		}),
		"pid": Func(func(context.Context, struct{}) (int, error) { return os.Getpid(), nil }),
		"put": Func(func(_ context.Context, item Item) (bool, error) {
			if sessions[item.Session] == nil {
				sessions[item.Session] = make(map[string]json.RawMessage)
			}
			sessions[item.Session][item.Key] = item.Value
			return true, nil
		}),
		"get": Func(func(_ context.Context, item Item) (json.RawMessage, error) {
			return sessions[item.Session][item.Key], nil
		}),
		process.MethodSessionEnded: Func(func(_ context.Context, p process.SessionEndedParams) (bool, error) {
			delete(sessions, p.Session)
			return true, nil
		}),
		"sleep": Func(sleep),
		"crash": Func(func(_ context.Context, p struct {
			Code int `json:"code"`
		},
		) (bool, error) {
			exit(p.Code)
			return true, nil
		}),
	}
}

// DemoOptions returns the options that Demo's methods need.
func DemoOptions() []Option { return []Option{Cancellable("nap")} }

// sleep is not announced as cancellable under its own name.
func sleep(ctx context.Context, p struct {
	Seconds float64 `json:"seconds"`
},
) (bool, error) {
	timer := time.NewTimer(time.Duration(p.Seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

func count(_ context.Context, p struct {
	N    int `json:"n"`
	Size int `json:"size"`
}, out *Emitter,
) (int, error) {
	var payload []byte
	if p.Size > 0 {
		payload = make([]byte, p.Size)
	}
	for i := range p.N {
		var err error
		if payload == nil {
			err = out.Value(i)
		} else {
			err = out.Bytes(payload, i)
		}
		if err != nil {
			return i, err
		}
	}
	return p.N, nil
}

func steps(ctx context.Context, p struct {
	N int `json:"n"`
},
) (int, error) {
	for i := range p.N {
		if err := Progress(ctx, map[string]int{"step": i}); err != nil {
			return i, err
		}
	}
	return p.N, nil
}

func fail(_ context.Context, p struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
},
) (bool, error) {
	return false, &process.RemoteError{Code: p.Code, Message: p.Message, Data: json.RawMessage(`{"demo":true}`)}
}

func logMessage(ctx context.Context, p struct {
	Level   string `json:"level"`
	Message string `json:"message"`
},
) (bool, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[p.Level]
	if !ok {
		return false, &process.RemoteError{Code: process.CodeInvalidParams, Message: "no level " + p.Level}
	}
	slog.New(NewLogHandler(slog.LevelDebug)).Log(ctx, level, p.Message)
	return true, nil
}
