package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"

	"hadir/attendance"
)

// The form of a backup, which is also the form of a raft snapshot:
//
//	"HADIRBK1"
//	length (4 bytes), header in canonical encoding
//	chunks: length (4 bytes, 1 … 1 MiB), bytes; together a zstd stream of state.db
//	length 0
//	SHA-256 of everything before it
//
// The digest stands at the end because the content is streamed from one read
// transaction and never held or read twice. A reader believes nothing before it
// has seen the digest: Receive gives a file only then.

const (
	backupMagic = "HADIRBK1"
	maxHeader   = 4 << 10
	maxChunk    = 1 << 20
)

// Header says what a backup holds.
type Header struct {
	Schema  uint64
	Cluster attendance.ClusterID
	Epoch   uint64
	Level   uint32
	Index   uint64 // applied raft index
	Term    uint64 // and its term
	Seq     uint64 // last event
	Clock   attendance.Millis
	Chain   attendance.Hash
	Size    uint64 // bytes of state.db, before compression
}

func headerOf(r *ReadTx) Header {
	m := r.meta
	return Header{
		Schema: Schema, Cluster: m.Cluster, Epoch: m.Epoch, Level: m.Level, Index: m.Applied, Term: m.Term,
		Seq: m.Seq, Clock: m.Clock, Chain: m.Chain, Size: uint64(r.tx.Size()),
	}
}

// Encode gives the canonical form, which stands at the start of a backup.
func (h Header) Encode() []byte {
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.Uint(h.Schema)
	w.Bytes(h.Cluster[:])
	w.Uint(h.Epoch)
	w.Uint(uint64(h.Level))
	w.Uint(h.Index)
	w.Uint(h.Term)
	w.Uint(h.Seq)
	w.Millis(h.Clock)
	w.Bytes(h.Chain[:])
	w.Uint(h.Size)
	return w.Data()
}

// DecodeHeader reads what Encode wrote.
func DecodeHeader(b []byte) (Header, error) {
	r := attendance.NewReader(b)
	r.Version(1)
	h := Header{Schema: r.Uint()}
	cluster := r.Bytes()
	h.Epoch, h.Level, h.Index, h.Term, h.Seq, h.Clock = r.Uint(), r.Uint32(), r.Uint(), r.Uint(), r.Uint(), r.Millis()
	chain := r.Bytes()
	h.Size = r.Uint()
	if err := r.Err(); err != nil {
		return Header{}, err
	}
	if len(cluster) != len(h.Cluster) || len(chain) != len(h.Chain) {
		return Header{}, attendance.ErrCanon
	}
	h.Cluster, h.Chain = attendance.ClusterID(cluster), attendance.Hash(chain)
	return h, nil
}

// Snapshot is a picture of the state at one moment, held open until Release. It
// keeps the pages of that moment from being reused, so it must not be held for
// longer than it takes to stream it.
type Snapshot struct {
	tx     *transaction
	Header Header
}

// Snapshot takes a picture of the state. It does not copy anything yet.
func (s *State) Snapshot() (*Snapshot, error) {
	tx, err := s.begin(false)
	if err != nil {
		return nil, err
	}
	read, err := newReadTx(tx.Tx)
	if err != nil {
		tx.end()
		return nil, corrupt(s.path, err)
	}
	return &Snapshot{tx: tx, Header: headerOf(read)}, nil
}

// Release lets go of the picture. It may be called more than once, but not while
// WriteTo runs.
func (s *Snapshot) Release() { s.tx.end() }

// Write streams the picture to w as a backup. It stops between two chunks when
// ctx ends.
func (s *Snapshot) Write(ctx context.Context, w io.Writer) error {
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	header := s.Header.Encode()
	start := binary.BigEndian.AppendUint32([]byte(backupMagic), uint32(len(header)))
	if _, err := out.Write(append(start, header...)); err != nil {
		return err
	}
	chunks := &chunkWriter{ctx: ctx, w: out}
	// One encoder thread: a snapshot is in no hurry, the log's sync beside it is.
	z, err := zstd.NewWriter(chunks, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	if _, err := s.tx.WriteTo(z); err != nil {
		return errors.Join(err, z.Close())
	}
	if err := errors.Join(z.Close(), chunks.end(), out.Flush()); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

type chunkWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c *chunkWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if err := c.ctx.Err(); err != nil {
			return n, err
		}
		part := p[:min(len(p), maxChunk)]
		if err := c.length(len(part)); err != nil {
			return n, err
		}
		k, err := c.w.Write(part)
		n += k
		if err != nil {
			return n, err
		}
		p = p[k:]
	}
	return n, nil
}

func (c *chunkWriter) length(n int) error {
	_, err := c.w.Write(binary.BigEndian.AppendUint32(nil, uint32(n)))
	return err
}

func (c *chunkWriter) end() error { return c.length(0) }

// ReadHeader reads the start of a backup. Nothing of it is proven yet.
func ReadHeader(r io.Reader) (Header, error) {
	start := make([]byte, len(backupMagic)+4)
	if _, err := io.ReadFull(r, start); err != nil {
		return Header{}, damaged("it has no header", err)
	}
	if string(start[:len(backupMagic)]) != backupMagic {
		return Header{}, fmt.Errorf("%w: it is not a hadir backup", ErrBackup)
	}
	n := binary.BigEndian.Uint32(start[len(backupMagic):])
	if n > maxHeader {
		return Header{}, fmt.Errorf("%w: header of %d bytes", ErrBackup, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return Header{}, damaged("the header is cut off", err)
	}
	h, err := DecodeHeader(b)
	if err != nil {
		return Header{}, damaged("the header cannot be read", err)
	}
	if h.Schema > Schema {
		return Header{}, fmt.Errorf("%w: the backup has schema %d, this binary knows %d: install the newer hadir",
			ErrFutureSchema, h.Schema, Schema)
	}
	return h, nil
}

func damaged(what string, err error) error { return fmt.Errorf("%w: %s: %w", ErrBackup, what, err) }

// Receive reads a backup into a new file in dir and proves it: digest, length,
// schema, that header and content agree, and that the last events lead to the
// chain hash. Only then the file's name is given; it is the caller's to Replace
// or remove. Any error leaves no file behind.
func Receive(ctx context.Context, r io.Reader, dir string, opts Options) (path string, h Header, err error) {
	f, err := os.CreateTemp(dir, "state-*.incoming")
	if err != nil {
		return "", Header{}, err
	}
	defer func() {
		if err != nil {
			// Whatever went wrong is the error to report; the leftover has a name
			// that CleanIncoming knows.
			_ = os.Remove(f.Name())
		}
	}()
	h, _, err = receive(ctx, r, func(Header) io.Writer { return f })
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", Header{}, err
	}
	opts.failpoint("receive.written")
	if err := proveReceived(f.Name(), h, opts); err != nil {
		return "", Header{}, err
	}
	return f.Name(), h, nil
}

// Verify reads a whole backup and keeps nothing of it: digest, length and that it
// unpacks. It gives the digest, too. progress, where given, is told how many bytes
// of how many are unpacked. What is inside is proven by Receive.
func Verify(ctx context.Context, r io.Reader, progress func(done, size uint64)) (Header, attendance.Hash, error) {
	return receive(ctx, r, func(h Header) io.Writer { return &counter{size: h.Size, progress: progress} })
}

// counter tells how much was written to it.
type counter struct {
	done, size uint64
	progress   func(done, size uint64)
}

func (c *counter) Write(p []byte) (int, error) {
	c.done += uint64(len(p))
	if c.progress != nil {
		c.progress(c.done, c.size)
	}
	return len(p), nil
}

// receive copies the content of a backup to where its header says and checks its
// digest.
func receive(ctx context.Context, r io.Reader, to func(Header) io.Writer) (Header, attendance.Hash, error) {
	var none attendance.Hash
	sum := sha256.New()
	buffered := bufio.NewReaderSize(r, 64<<10)
	in := io.TeeReader(buffered, sum)
	h, err := ReadHeader(in)
	if err != nil {
		return Header{}, none, err
	}
	chunks := &chunkReader{ctx: ctx, r: in}
	z, err := zstd.NewReader(chunks, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return Header{}, none, err
	}
	defer z.Close()
	// One byte more than announced is enough to notice, and stops a small stream
	// that unpacks to a full disk.
	n, err := io.Copy(to(h), io.LimitReader(z, int64(min(h.Size, 1<<62))+1))
	if err := ctx.Err(); err != nil {
		return Header{}, none, err
	}
	if err != nil {
		return Header{}, none, damaged("the content cannot be unpacked", err)
	}
	if uint64(n) != h.Size {
		return Header{}, none, fmt.Errorf("%w: the content has another length than %d bytes", ErrBackup, h.Size)
	}
	if _, err := io.Copy(io.Discard, chunks); err != nil {
		return Header{}, none, damaged("the content is cut off", err)
	}
	digest := attendance.Hash(sum.Sum(nil))
	return h, digest, checkDigest(buffered, digest)
}

func checkDigest(r io.Reader, digest attendance.Hash) error {
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(r, want); err != nil {
		return damaged("the digest is cut off", err)
	}
	if attendance.Hash(want) != digest {
		return fmt.Errorf("%w: its digest does not fit", ErrBackup)
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(r, 1)); err != nil || n > 0 {
		return fmt.Errorf("%w: something follows the digest", ErrBackup)
	}
	return nil
}

// chunkReader gives the bytes of the chunks and io.EOF after the last one.
type chunkReader struct {
	ctx  context.Context
	r    io.Reader
	left int
	done bool
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.done {
		return 0, io.EOF
	}
	if c.left == 0 {
		if err := c.ctx.Err(); err != nil {
			return 0, err
		}
		var b [4]byte
		if _, err := io.ReadFull(c.r, b[:]); err != nil {
			return 0, noEOF(err)
		}
		n := binary.BigEndian.Uint32(b[:])
		if n > maxChunk {
			return 0, fmt.Errorf("%w: chunk of %d bytes", ErrBackup, n)
		}
		if n == 0 {
			c.done = true
			return 0, io.EOF
		}
		c.left = int(n)
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, noEOF(err)
}

// noEOF keeps a stream that ends too early from looking like one that ended.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// proveReceived opens the file that was received and compares it with what its
// header said.
func proveReceived(path string, want Header, opts Options) error {
	db, err := openDB(path, opts)
	if err != nil {
		return err
	}
	return errors.Join(guard(path, func() error {
		return db.View(func(tx *bbolt.Tx) error {
			read, err := newReadTx(tx)
			if err != nil {
				return err
			}
			got := headerOf(read)
			got.Size = want.Size // the length was compared before
			if got != want {
				return fmt.Errorf("%w: header and content disagree", ErrBackup)
			}
			return nil
		})
	}), db.Close())
}

// CleanIncoming removes what an interrupted Receive left in dir.
func CleanIncoming(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "state-*.incoming"))
	for _, name := range names {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}
