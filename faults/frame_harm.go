package faults

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/poolproof/poolproof/pool/process"
)

const (
	// mostNoise is the most bytes that are put before a frame.
	mostNoise = 64
	// shownBytes is how many bytes the evidence shows.
	shownBytes = 8
	// highestID is above every id of a request.
	highestID = 1_000_000_000_000_000_000
)

// harmed is what becomes of a frame.
type harmed struct {
	data []byte        // sent in its place; nil: nothing
	at   int           // the offset in data of the first byte that is not as it was
	end  bool          // the end of file comes after that
	late time.Duration // how long it is held back, while others pass
	what string        // was done
}

// harm returns what f makes of a whole frame, which it does not change, or false if f is
// not about such a frame. It does not apply to faults that pace.
func (f *FrameFault) harm(rng *rand.Rand, whole []byte, limit int) (harmed, bool) {
	parsed := parseFrame(whole)
	switch f.Kind {
	case FrameBitFlip:
		return f.flip(rng, &parsed)
	case FrameTruncate:
		n := 1 + rng.IntN(len(whole)-1)
		return harmed{data: whole[:n], end: true, what: fmt.Sprintf("%d of its %d bytes sent, then end of file", n, len(whole))}, true
	case FrameOversize:
		length := uint32(int64(limit) + 1 + rng.Int64N(math.MaxUint32-int64(limit)))
		data := binary.BigEndian.AppendUint32(nil, length)
		return harmed{
			data: append(data, whole[process.FrameHeaderBytes:]...), at: process.FrameHeaderBytes - 1,
			what: fmt.Sprintf("length %d announced, limit %d", length, limit),
		}, true
	case FrameGarbage:
		data := append([]byte(nil), whole...)
		fill(rng, data[process.FrameHeaderBytes:])
		return harmed{
			data: data, at: process.FrameHeaderBytes,
			what: "body replaced by garbage, " + shown(data[process.FrameHeaderBytes:]),
		}, len(whole) > process.FrameHeaderBytes
	case FrameDuplicate:
		return harmed{data: append(append([]byte(nil), whole...), whole...), at: len(whole), what: "sent twice"}, parsed.hasID()
	case FrameLate:
		return harmed{data: whole, late: f.For, what: fmt.Sprintf("held back for %v", f.For)}, parsed.hasID()
	case FrameWrongID:
		return renumber(rng, &parsed)
	case FrameNoise:
		noise := make([]byte, 1+rng.IntN(mostNoise))
		fill(rng, noise)
		return harmed{data: append(noise, whole...), what: fmt.Sprintf("%d bytes of noise before it, %s", len(noise), shown(noise))}, true
	case FrameWrongVersion:
		return reversion(rng, &parsed)
	}
	return harmed{what: "dropped"}, true // FrameLoss
}

// flip flips one bit of what f aims at, if there is any.
func (f *FrameFault) flip(rng *rand.Rand, parsed *wireFrame) (harmed, bool) {
	aim := parsed.vouched()
	if f.Payload {
		aim = parsed.unvouched()
	}
	total := totalBytes(aim)
	if total == 0 {
		return harmed{}, false
	}
	at, bit := pick(aim, rng.IntN(total)), rng.IntN(8)
	if flippedSpace(parsed.whole[at], bit) {
		bit++
	}
	data := append([]byte(nil), parsed.whole...)
	data[at] ^= 1 << bit
	return harmed{
		data: data, at: at,
		what: fmt.Sprintf("bit %d flipped, byte %d %02x -> %02x", 8*at+bit, at, parsed.whole[at], data[at]),
	}, true
}

// renumber gives the first message another id.
func renumber(rng *rand.Rand, parsed *wireFrame) (harmed, bool) {
	m, ok := parsed.member("id")
	if !ok {
		return harmed{}, false
	}
	id, err := strconv.ParseUint(string(parsed.whole[m.value.from:m.value.to]), 10, 64)
	if err != nil || id == 0 || id >= highestID {
		return harmed{}, false
	}
	other := id + 1
	switch rng.IntN(3) {
	case 0:
		other = id - 1
	case 1:
		if other = 1 + rng.Uint64N(highestID-2); other >= id {
			other++
		}
	}
	return harmed{data: parsed.replaced(m.value, other), at: m.value.from, what: fmt.Sprintf("id %d -> %d", id, other)}, true
}

// reversion changes the version in a reply to hello.
func reversion(rng *rand.Rand, parsed *wireFrame) (harmed, bool) {
	at, ok := parsed.version()
	if !ok {
		return harmed{}, false
	}
	const versions = 1000
	other := uint64(rng.IntN(versions))
	if other == process.ProtocolVersion {
		other = versions
	}
	return harmed{
		data: parsed.replaced(at, other), at: at.from,
		what: fmt.Sprintf("version %s -> %d", parsed.whole[at.from:at.to], other),
	}, true
}

func fill(rng *rand.Rand, p []byte) {
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
}

// shown returns the beginning of p in hexadecimal.
func shown(p []byte) string {
	if len(p) > shownBytes {
		return fmt.Sprintf("%x..", p[:shownBytes])
	}
	return fmt.Sprintf("%x", p)
}
