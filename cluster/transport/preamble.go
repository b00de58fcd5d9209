package transport

import (
	"encoding/binary"
	"fmt"
	"io"
)

// A preamble is a fixed header of 8 bytes and a body.
//
//	header: "HADR" | version u8 | code u8 | body length u16
//	body:   cluster id | epoch u64 | from id | incarnation u64 |
//	        generation u64 | run u64 | to id
//
// Numbers are big endian, strings are a length byte and that many bytes. The
// header never changes between versions, so that a refusal by another version
// is still understood. The dialler sends one with code 0, the acceptor answers
// with one; both have the same form.
const (
	preambleVersion = 1
	preambleHeader  = 8
	preambleMaxBody = 1024
	maxClusterID    = 64
)

// preambleMagic is a function because Go has no constant arrays.
func preambleMagic() [4]byte { return [4]byte{'H', 'A', 'D', 'R'} }

type preamble struct {
	code        Code
	cluster     string
	epoch       uint64
	from        string
	incarnation uint64
	generation  uint64
	run         uint64
	to          string
}

func (p preamble) encode() []byte {
	magic := preambleMagic()
	b := make([]byte, 0, preambleHeader+preambleMaxBody)
	b = append(b, magic[:]...)
	b = append(b, preambleVersion, byte(p.code), 0, 0)
	b = appendString(b, p.cluster)
	b = binary.BigEndian.AppendUint64(b, p.epoch)
	b = appendString(b, p.from)
	b = binary.BigEndian.AppendUint64(b, p.incarnation)
	b = binary.BigEndian.AppendUint64(b, p.generation)
	b = binary.BigEndian.AppendUint64(b, p.run)
	b = appendString(b, p.to)
	binary.BigEndian.PutUint16(b[6:8], uint16(len(b)-preambleHeader))
	return b
}

func appendString(b []byte, s string) []byte {
	b = append(b, byte(len(s)))
	return append(b, s...)
}

// readPreamble reads exactly one preamble and no byte more: what follows
// belongs to raft or HTTP/2. The code of an answer in a foreign version is
// returned together with ErrVersion.
func readPreamble(r io.Reader) (preamble, error) {
	var head [preambleHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return preamble{}, err
	}
	if [4]byte(head[:4]) != preambleMagic() {
		return preamble{}, fmt.Errorf("%w: no magic", ErrBadPreamble)
	}
	size := binary.BigEndian.Uint16(head[6:8])
	if size > preambleMaxBody {
		return preamble{}, fmt.Errorf("%w: %d bytes", ErrBadPreamble, size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return preamble{}, err
	}
	p := preamble{code: Code(head[5])}
	if head[4] != preambleVersion {
		return p, fmt.Errorf("%w %d", ErrVersion, head[4])
	}
	return p, p.decodeBody(body)
}

// decodeBody is strict: what it accepts encodes to the same bytes again.
func (p *preamble) decodeBody(b []byte) error {
	d := decoder{rest: b}
	p.cluster = d.str(maxClusterID)
	p.epoch = d.u64()
	p.from = d.str(maxServerID)
	p.incarnation = d.u64()
	p.generation = d.u64()
	p.run = d.u64()
	p.to = d.str(maxServerID)
	if d.bad || len(d.rest) != 0 {
		return fmt.Errorf("%w: body", ErrBadPreamble)
	}
	if CheckServerID(p.from) != nil || (p.to != "" && CheckServerID(p.to) != nil) || !checkClusterID(p.cluster) {
		return fmt.Errorf("%w: ids", ErrBadPreamble)
	}
	return nil
}

// checkClusterID allows an empty id and the alphabet of server ids.
func checkClusterID(id string) bool {
	return id == "" || (len(id) <= maxClusterID && CheckServerID(id) == nil)
}

// peer is the peer that this preamble describes.
func (p preamble) peer() Peer {
	return Peer{
		ID:          p.from,
		ClusterID:   p.cluster,
		Epoch:       p.epoch,
		Incarnation: p.incarnation,
		Generation:  p.generation,
		Run:         p.run,
	}
}

// decoder reads fields and remembers that one was missing.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || len(d.rest) < n {
		d.bad = true
		return nil
	}
	out := d.rest[:n]
	d.rest = d.rest[n:]
	return out
}

func (d *decoder) u64() uint64 {
	b := d.take(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (d *decoder) str(limit int) string {
	n := d.take(1)
	if n == nil {
		return ""
	}
	if int(n[0]) > limit {
		d.bad = true
		return ""
	}
	return string(d.take(int(n[0])))
}
