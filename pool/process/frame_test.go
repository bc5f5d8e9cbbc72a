package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

// frame returns body with its header.
func frame(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestFrameReaderReadsWhatSealFrameSealed(t *testing.T) {
	var stream bytes.Buffer
	bodies := []string{"", "a", `{"jsonrpc":"2.0"}`, string(make([]byte, 3*retainBytes)), "b"}
	for _, body := range bodies {
		sealed := append(make([]byte, FrameHeaderBytes), body...)
		if err := SealFrame(sealed, 3*retainBytes); err != nil {
			t.Fatal(err)
		}
		stream.Write(sealed)
	}
	frames := NewFrameReader(iotest.HalfReader(&stream), 3*retainBytes)
	for i, want := range bodies {
		got, err := frames.Next()
		if err != nil || string(got) != want {
			t.Fatalf("frame %d: got %d bytes, error %v; want %d bytes", i, len(got), err, len(want))
		}
	}
	if cap(frames.body) > retainBytes {
		t.Errorf("after a small frame the reader keeps %d bytes, want at most %d", cap(frames.body), retainBytes)
	}
	if _, err := frames.Next(); err != io.EOF {
		t.Errorf("end of file between frames: got %v, want io.EOF itself", err)
	}
}

func TestFrameReaderReusesItsBuffer(t *testing.T) {
	stream := bytes.Repeat(frame("0123456789"), 2000)
	frames := NewFrameReader(bytes.NewReader(stream), 10)
	allocs := testing.AllocsPerRun(1000, func() {
		if _, err := frames.Next(); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("reading a small frame allocates %v times, want 0", allocs)
	}
}

func TestFrameCutShortIsNoCleanEnd(t *testing.T) {
	whole := frame("body")
	for cut := 1; cut < len(whole); cut++ {
		frames := NewFrameReader(bytes.NewReader(whole[:cut]), 100)
		if _, err := frames.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("frame cut after %d bytes: got %v, want io.ErrUnexpectedEOF", cut, err)
		}
	}
}

func TestFrameLimitIsCheckedBeforeAllocating(t *testing.T) {
	for _, length := range []uint32{11, 1 << 30, 1<<32 - 1} {
		header := binary.BigEndian.AppendUint32(nil, length)
		frames := NewFrameReader(bytes.NewReader(header), 10)
		if _, err := frames.Next(); !errors.Is(err, ErrFrameTooLarge) {
			t.Errorf("header announcing %d bytes: got %v, want ErrFrameTooLarge", length, err)
		}
		if cap(frames.body) != 0 {
			t.Errorf("header announcing %d bytes: %d allocated, want 0", length, cap(frames.body))
		}
	}
	sealed := []byte("....0123456789")
	if err := SealFrame(sealed, 9); !errors.Is(err, ErrFrameTooLarge) || string(sealed[:4]) != "...." {
		t.Errorf("sealing 10 bytes with limit 9: got %v and header %q, want ErrFrameTooLarge and no header", err, sealed[:4])
	}
}

// FuzzNextParts checks that bodies are taken apart as they are when they are read whole,
// wherever their payloads are put.
func FuzzNextParts(f *testing.F) {
	f.Add(frame("{}"), 0)
	f.Add(frame("\x00\x00\x00\x02{}payload"), 1)
	f.Add(append(frame("\x00\x00\x00\x02{}"+string(make([]byte, 2*placeBytes))), frame("{}")...), 1)
	f.Add(frame("\x00\x00\xff\xff{}"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, mode int) {
		const limit = 4 * placeBytes
		whole := NewFrameReader(bytes.NewReader(stream), limit)
		parts := NewFrameReader(iotest.HalfReader(bytes.NewReader(stream)), limit)
		place := func(text []byte, n int) []byte {
			if mode%2 == 0 {
				return nil
			}
			return make([]byte, n+mode&7)
		}
		for {
			body, err := whole.Next()
			text, payload, partsErr := parts.NextParts(place)
			if err == nil {
				var wantText, want []byte
				if wantText, want, err = wire.Split(body); err == nil && partsErr == nil &&
					(!bytes.Equal(text, wantText) || !bytes.Equal(payload, want) || (payload == nil) != (want == nil)) {
					t.Fatalf("%q and %q, want %q and %q", text, payload, wantText, want)
				}
			}
			if (err == nil) != (partsErr == nil) || err == io.EOF && partsErr != io.EOF {
				t.Fatalf("in parts: %v, want %v (text %q)", partsErr, err, text)
			}
			if err != nil {
				return
			}
		}
	})
}

// FuzzFrameReader checks the reader on any bytes against the plain reading of the format.
func FuzzFrameReader(f *testing.F) {
	const limit = 64
	f.Add(frame("hello"))
	f.Add(append(frame(""), frame("x")...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, stream []byte) {
		frames := NewFrameReader(iotest.OneByteReader(bytes.NewReader(stream)), limit)
		rest := stream
		for {
			body, err := frames.Next()
			if cap(frames.body) > limit {
				t.Fatalf("%d bytes allocated, want at most %d", cap(frames.body), limit)
			}
			if err == nil {
				whole := frame(string(body))
				if !bytes.HasPrefix(rest, whole) {
					t.Fatalf("read %q, stream goes on with %q", whole, rest)
				}
				rest = rest[len(whole):]
				continue
			}
			checkEnd(t, rest, err, limit)
			return
		}
	})
}

// checkEnd checks the error that reading rest, which starts with no good frame, ended in.
func checkEnd(t *testing.T, rest []byte, err error, limit uint32) {
	t.Helper()
	want := io.ErrUnexpectedEOF
	switch {
	case len(rest) == 0:
		if err != io.EOF {
			t.Fatalf("at the end: got %v, want io.EOF itself", err)
		}
		return
	case len(rest) >= 4 && binary.BigEndian.Uint32(rest) > limit:
		want = ErrFrameTooLarge
	}
	if !errors.Is(err, want) {
		t.Fatalf("with %q left: got %v, want %v", rest, err, want)
	}
}
