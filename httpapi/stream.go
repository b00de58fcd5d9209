package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"hadir/attendance"
	"hadir/attendance/eventjson"
	"hadir/cluster"
	"hadir/fsm"
	"hadir/httpapi/stream"
	"hadir/store"
)

// Watcher is what pushing needs of the cluster beside Node; *cluster.Node is one.
type Watcher interface {
	// Subscribe has f called after each commit, in order. f does not block.
	Subscribe(f func(fsm.Commit))
	// Post replaces this node's note on a topic; Notes gives those of the others.
	Post(topic string, body []byte) error
	Notes(topic string) []cluster.Note
	// Changed is closed at the next change of the cluster or of a note.
	Changed() <-chan struct{}
}

const (
	streamPath   = apiPrefix + "/stream"
	ticketPath   = apiPrefix + "/stream-ticket"
	presencePath = apiPrefix + "/presence"
)

// streaming is who may subscribe, and how far they see.
var streaming = signedIn

// streamRoutes are there where there is a Watcher.
func (a *API) streamRoutes() []route {
	if a.Watcher == nil {
		return nil
	}
	return []route{
		{http.MethodGet, streamPath, streaming, false, getStream},
		{http.MethodPost, ticketPath, streaming.about(aboutSelf), false, postTicket},
		{http.MethodGet, presencePath, staff.about(aboutPeople), false, getPresence},
		{http.MethodGet, onlinePath, staff.about(aboutPeople), true, onlinePage},
		{http.MethodGet, onlinePath + "/list", staff.about(aboutPeople), true, onlinePart},
	}
}

// topicAccess is who may subscribe to what; everybody who is signed in to what is
// not here.
var topicAccess = map[stream.Topic]access{stream.Cluster: staff, stream.Presence: staff, stream.Queue: admins}

// streamParams are the parameters of the stream.
var streamParams = []string{"topics", "epoch", "after", "ticket"}

// subscription reads what somebody wants to be told.
func (q *query) subscription() (topics stream.Topics, from *stream.Position) {
	if words := q.text("topics"); words == "" {
		topics = topics.With(stream.Attendance)
	} else {
		for word := range strings.SplitSeq(words, ",") {
			topic, known := stream.ParseTopic(word)
			if !known {
				q.wrong("topics", "names something else than attendance, totals, cluster, presence, queue, pending and progress")
				break
			}
			topics = topics.With(topic)
		}
	}
	epoch, after := q.values.Has("epoch"), q.values.Has("after")
	switch {
	case epoch != after:
		q.wrong("after", "and epoch come together or not at all")
	case after && !topics.Has(stream.Attendance):
		q.wrong("after", "is a place among events: it goes with the topic attendance")
	case after && q.text("after") == "":
		q.wrong("after", "is empty")
	case after:
		from = &stream.Position{Epoch: q.text("epoch"), After: q.number("after", 0, maxID, 0)}
	}
	return topics, from
}

// getStream makes a WebSocket of the request.
func getStream(c *call) error {
	q, err := c.query(streamParams...)
	if err != nil {
		return err
	}
	topics, from := q.subscription()
	if err := q.done(); err != nil {
		return err
	}
	if err := c.sameOrigin(); err != nil {
		return err
	}
	kind := kindOf(c.who)
	for topic, who := range topicAccess {
		if topics.Has(topic) && who.reach[kind] == reachNone {
			return forbidden("The topic " + topic.String() + " needs another role.")
		}
	}
	if topics.Has(stream.Attendance) && streaming.reach[kind] != reachAll {
		topics = topics.With(stream.Totals) // who sees everything counts by themselves
	}
	if c.r.Method != http.MethodGet || !websocket.IsWebSocketUpgrade(c.r) {
		c.w.Header().Set("Upgrade", "websocket")
		return newProblem(codeUpgrade, "This is a WebSocket.")
	}
	sub := stream.Subscriber{
		Topics: topics, Position: from, Until: c.who.session.until.Time(), Recheck: c.api.recheck(c.who),
	}
	if sub.Audience, err = sub.Recheck(c.r.Context()); err != nil {
		if errors.Is(err, stream.ErrForbidden) {
			return errNoSession // it has ended between the door and here
		}
		return err
	}
	return c.upgrade(sub)
}

// errStreams says what the limits are.
func (a *API) errStreams(err error) error {
	switch {
	case errors.Is(err, stream.ErrTooMany):
		p := newProblem(codeRateLimited, fmt.Sprintf("A person may have %d connections to a node. Close one, or ask another node.",
			a.push.hub.Limits().PerPerson))
		p.retry = 5 * time.Second
		return p
	case errors.Is(err, stream.ErrFull):
		return newProblem(codeOverloaded, "This node serves as many connections as it may. Ask another one.")
	case errors.Is(err, stream.ErrClosing):
		return newProblem(codeClosing, "Ask another node.")
	}
	return err
}

// upgrade hands the connection to the hub.
func (c *call) upgrade(sub stream.Subscriber) error {
	seat, err := c.api.push.hub.Reserve(c.who.user.ID)
	if err != nil {
		return c.api.errStreams(err)
	}
	var refused error
	upgrader := stream.Upgrader()
	upgrader.CheckOrigin = func(*http.Request) bool { return true } // done
	upgrader.Error = func(_ http.ResponseWriter, _ *http.Request, status int, reason error) {
		if status >= http.StatusInternalServerError {
			refused = reason
			return
		}
		refused = newProblem(codeHandshake, strings.TrimPrefix(reason.Error(), "websocket: "))
	}
	header := make(http.Header)
	for _, name := range []string{"X-Request-Id", "X-Hadir-Node", "X-Hadir-Index"} {
		header.Set(name, c.w.Header().Get(name))
	}
	conn, err := upgrader.Upgrade(c.w.Unwrap(), c.r, header)
	switch {
	case refused != nil:
		seat.Release()
		return refused
	case err != nil: // the connection is gone
		seat.Release()
		c.api.Log.Debug("no stream", "request", c.id, "error", err)
		return nil
	}
	c.w.status = http.StatusSwitchingProtocols
	seat.Serve(conn, sub)
	return nil
}

// sameOrigin refuses pages of other sites: a browser sends its cookies with a
// WebSocket wherever it leads, and says where the page is from. What says nothing is
// no browser.
func (c *call) sameOrigin() error {
	origin, given := c.r.Header["Origin"]
	if !given {
		return nil
	}
	u, err := url.Parse(origin[0])
	if err != nil || len(origin) > 1 || u.Host == "" || !c.servesHost(u.Host) {
		return newProblem(codeCrossOrigin, "")
	}
	return nil
}

// servesHost reports whether that is the host that the request is for: the one it
// names, or the one that a proxy of ours was asked for.
func (c *call) servesHost(host string) bool {
	if strings.EqualFold(host, c.r.Host) {
		return true
	}
	peer, err := netip.ParseAddrPort(c.r.RemoteAddr)
	if err != nil || !c.api.trusts(peer.Addr().Unmap().WithZone("")) {
		return false
	}
	hosts := strings.Split(strings.Join(c.r.Header.Values("X-Forwarded-Host"), ","), ",")
	return strings.EqualFold(host, strings.TrimSpace(hosts[len(hosts)-1]))
}

// recheck gives what looks up again what a visitor may see.
func (a *API) recheck(who *visitor) func(context.Context) (stream.Audience, error) {
	token, role := who.token, who.user.Role
	return func(ctx context.Context) (out stream.Audience, err error) {
		_, err = a.Node.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) error {
			now, err := visitorOf(tx, token, attendance.MillisOf(a.Clock.Now()))
			if err != nil {
				return err
			}
			if now.user.Role != role {
				return stream.ErrForbidden
			}
			now.reach = streaming.reach[kindOf(now)]
			s, err := scopeOf(tx, now)
			if err != nil {
				return err
			}
			out = s.audience()
			return nil
		})
		if errors.Is(err, errNoSession) {
			err = stream.ErrForbidden
		}
		return out, err
	}
}

// audience gives the scope in the form in which it outlives its transaction.
func (s *scope) audience() stream.Audience {
	m := s.tx.Meta()
	a := stream.Audience{All: s.everybody(), Self: s.viewer.ID, Epoch: epochOf(cluster.Status{Cluster: m.Cluster, Epoch: m.Epoch}), AsOf: m.Seq}
	if s.reach != reachGroup {
		return a
	}
	a.People = make(map[uint64]struct{})
	for _, g := range s.groups {
		for after := uint64(0); ; {
			page := s.tx.People(g, store.Member, after, store.MaxPage)
			for _, id := range page {
				a.People[id] = struct{}{}
				after = id
			}
			if len(page) < store.MaxPage {
				break
			}
		}
	}
	return a
}

// storedEvents gives the hub the events of this node.
type storedEvents struct{ node Node }

// Current implements stream.Source.
func (s storedEvents) Current(at time.Time) bool { return !s.node.Status().Fresh.AsOf.Before(at) }

const eventPrefix = `{"t":"event"`

// Events implements stream.Source.
func (s storedEvents) Events(ctx context.Context, after uint64, limit int, f func(stream.Event) bool) (now stream.Picture, err error) {
	var text []byte
	_, err = s.node.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) error {
		m := tx.Meta()
		now = stream.Picture{Epoch: epochOf(cluster.Status{Cluster: m.Cluster, Epoch: m.Epoch}), Oldest: m.FirstSeq, Newest: m.Seq}
		var broken error
		tx.Events(after, limit, func(seq uint64, stored []byte) bool {
			e, err := attendance.DecodeEvent(stored)
			if err != nil {
				broken = fmt.Errorf("%w: event %d: %w", store.ErrCorrupt, seq, err)
				return false
			}
			// The event's object, with one more field before its first.
			text = eventjson.Append(append(text[:0], eventPrefix...), e)
			text[len(eventPrefix)] = ','
			return f(stream.Event{Seq: seq, Text: text, User: aboutWhom(e), Rights: rightsOf(e)})
		})
		return broken
	})
	return now, err
}

// aboutWhom gives the person whose own event it is: what was decided about a tap.
// Everything else is for admins.
func aboutWhom(e attendance.Event) uint64 {
	if tap, ok := e.Detail.(attendance.Tap); ok {
		return tap.UserID
	}
	return 0
}

// rightsOf says whose rights to see things an event may have changed.
func rightsOf(e attendance.Event) stream.Rights {
	switch d := e.Detail.(type) {
	case attendance.UserChange:
		if e.Type != attendance.UserCreated {
			return stream.Rights{Users: []uint64{d.User.ID}}
		}
	case attendance.SessionsChange:
		if d.UserID == 0 {
			return stream.Rights{Everybody: true}
		}
		return stream.Rights{Users: []uint64{d.UserID}}
	case attendance.SecretChange:
		return stream.Rights{Everybody: d.Name == secretName}
	case attendance.GroupChange:
		return stream.Rights{Groups: true}
	}
	return stream.Rights{}
}
