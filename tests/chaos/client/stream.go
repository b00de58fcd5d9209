package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Frame is one frame of the stream.
type Frame struct {
	T      string          `json:"t"`
	Node   string          `json:"node"`
	Epoch  string          `json:"epoch"`
	Seq    uint64          `json:"seq"`
	Resume string          `json:"resume"`
	Reason string          `json:"reason"`
	Type   string          `json:"type"`
	User   uint64          `json:"user_id"`
	Data   json.RawMessage `json:"data"`
	Text   string          `json:"-"` // as it came
}

// Socket is one connection to the stream.
type Socket struct{ conn *websocket.Conn }

// Refused is the answer where no connection came about.
type Refused struct{ Answer *Answer }

// Error implements error.
func (r *Refused) Error() string { return "no stream: " + r.Answer.String() }

// Stream connects; header fields come in pairs. An answer that is none is a
// *Refused.
func (c Client) Stream(ctx context.Context, query url.Values, header ...string) (*Socket, error) {
	h := make(http.Header)
	if c.Token != "" {
		h.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	dial := websocket.Dialer{HandshakeTimeout: 5 * time.Second}
	if t, ok := c.HTTP.Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
		dial.TLSClientConfig = t.TLSClientConfig.Clone()
	}
	conn, response, err := dial.DialContext(ctx, "ws"+strings.TrimPrefix(c.Base, "http")+"/api/v1/stream?"+query.Encode(), h)
	if err != nil {
		if response == nil {
			return nil, err
		}
		defer response.Body.Close()
		body, readErr := io.ReadAll(response.Body)
		if readErr != nil {
			return nil, readErr
		}
		return nil, &Refused{&Answer{Status: response.StatusCode, Header: response.Header, Body: body}}
	}
	response.Body.Close() //nolint:errcheck // it is empty
	return &Socket{conn}, nil
}

// Next gives the next frame, until a moment.
func (s *Socket) Next(until time.Time) (f Frame, err error) {
	if err := s.conn.SetReadDeadline(until); err != nil {
		return f, err
	}
	_, text, err := s.conn.ReadMessage()
	if err != nil {
		return f, err
	}
	f.Text = string(text)
	return f, json.Unmarshal(text, &f)
}

// Await gives the next frame that ok says is the one; others are passed over.
func (s *Socket) Await(within time.Duration, ok func(Frame) bool) (Frame, error) {
	until := time.Now().Add(within)
	for {
		f, err := s.Next(until)
		if err != nil || ok(f) {
			return f, err
		}
	}
}

// Code reads to the end and gives the code of closing, 0 when it was cut.
func (s *Socket) Code(within time.Duration) int {
	_, err := s.Await(within, func(Frame) bool { return false })
	return CloseCode(err)
}

// Close ends the connection.
func (s *Socket) Close() { s.conn.Close() } //nolint:errcheck // it may have ended

// CloseCode gives the code with which a connection was closed, 0 when it was cut.
func CloseCode(err error) int {
	var c *websocket.CloseError
	if errors.As(err, &c) {
		return c.Code
	}
	return 0
}

// Events reads the events after a seq from a node's log, in the form of frames.
func (c Client) Events(ctx context.Context, after uint64) ([]Frame, error) {
	var all []Frame
	for {
		var page struct {
			Items []json.RawMessage `json:"items"`
		}
		if err := c.Get(ctx, fmt.Sprintf("/api/v1/logs?after=%d&limit=200", after), &page); err != nil {
			return nil, err
		}
		if len(page.Items) == 0 {
			return all, nil
		}
		for _, item := range page.Items {
			f := Frame{T: "event", Text: `{"t":"event",` + string(item[1:])}
			if err := json.Unmarshal(item, &f); err != nil {
				return nil, err
			}
			after = f.Seq
			all = append(all, f)
		}
	}
}
