package jobs

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxInflated bounds what a file or a result is unpacked to.
const maxInflated = 256 << 20

// pack compresses a task. Errors: ErrTooLarge.
func pack(t Task) ([]byte, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encode a task: %w", err)
	}
	return deflate(raw)
}

func unpack(packed []byte) (t Task, err error) {
	raw, err := inflate(packed)
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	return t, err
}

func deflate(raw []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(raw)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if b.Len() > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes compressed, at most %d", ErrTooLarge, b.Len(), MaxBytes)
	}
	return b.Bytes(), nil
}

func inflate(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(r, maxInflated+1))
	if err == nil && len(raw) > maxInflated {
		err = ErrTooLarge
	}
	return raw, err
}
