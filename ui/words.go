package ui

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Lang is a language of the pages.
type Lang string

// The languages; Indonesian is the default.
const (
	Indonesian Lang = "id"
	English    Lang = "en"
)

// ParseLang gives the language with a tag such as "en" or "en-GB".
func ParseLang(tag string) (Lang, bool) {
	tag, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
	switch Lang(tag) {
	case Indonesian, "in": // the tag that Java has used for Indonesian
		return Indonesian, true
	case English:
		return English, true
	}
	return Indonesian, false
}

// PreferredLang gives the language of an Accept-Language header.
func PreferredLang(header string) Lang {
	type choice struct {
		lang Lang
		q    float64
	}
	var choices []choice
	for part := range strings.SplitSeq(header, ",") {
		tag, params, _ := strings.Cut(part, ";")
		lang, ok := ParseLang(tag)
		if !ok {
			continue
		}
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(v, 64); err != nil || !(q >= 0 && q <= 1) {
				continue
			}
		}
		if q > 0 {
			choices = append(choices, choice{lang, q})
		}
	}
	if len(choices) == 0 {
		return Indonesian
	}
	slices.SortStableFunc(choices, func(a, b choice) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	return choices[0].lang
}

// words is the catalogue: Indonesian, English. Both take the same arguments.
var words = catalogue(pageWords, adminWords)

// catalogue puts the parts together. A key stands in one of them.
func catalogue(parts ...map[string][2]string) map[string][2]string {
	all := make(map[string][2]string)
	for _, part := range parts {
		maps.Copy(all, part)
	}
	return all
}

// pageWords are those of the pages that everybody has.
var pageWords = map[string][2]string{
	"title":            {"hadir", "hadir"},
	"nav.home":         {"Absen", "Check in"},
	"nav.cluster":      {"Klaster", "Cluster"},
	"nav.label":        {"Halaman", "Pages"},
	"nav.out":          {"Keluar", "Sign out"},
	"unbuilt":          {"Skrip halaman belum dibangun; halaman ini tetap bekerja tanpanya. Pasang Node lalu jalankan make build.", "The scripts of these pages were not built; the pages work without them. Install Node and run make build."},
	"skip":             {"Langsung ke isi", "Skip to content"},
	"role.student":     {"siswa", "student"},
	"role.teacher":     {"guru", "teacher"},
	"role.admin":       {"admin", "admin"},
	"lost":             {"Node tidak menjawab. Mencoba lagi…", "The node does not answer. Trying again…"},
	"pulse.ok":         {"%s · pemimpin %s · %d dari %d node menjawab", "%s · leader %s · %d of %d nodes answer"},
	"pulse.none":       {"%s · tanpa pemimpin · %d dari %d node menjawab", "%s · no leader · %d of %d nodes answer"},
	"pulse.nodes":      {"%d/%d node", "%d/%d nodes"},
	"pulse.leaderless": {"tanpa pemimpin", "no leader"},
	"pulse.stale":      {"data mungkin tertinggal", "data may be behind"},
	"sign.heading":     {"Masuk", "Sign in"},
	"sign.email":       {"Alamat email", "Email address"},
	"sign.password":    {"Kata sandi", "Password"},
	"sign.button":      {"Masuk", "Sign in"},
	"sign.demo":        {"Demo: masuk dengan satu klik", "Demo: sign in with one click"},
	"sign.demo.hint":   {"Masuk sebagai admin, buka Klaster, lalu Mulai pagi sekolah: absen mengalir, dan pemimpin boleh dimatikan.", "Sign in as the admin, open Cluster and start a school morning: check-ins come in, and you may kill the leader."},
	"sign.as":          {"Sebagai %s (%s)", "As %s (%s)"},
	"error.wrong":      {"Alamat atau kata sandi salah.", "Address or password is wrong."},
	"error.limited":    {"Terlalu banyak percobaan gagal. Tunggu sebentar, lalu coba lagi.", "Too many failed attempts. Wait a moment, then try again."},
	"error.busy":       {"Sedang ramai. Coba lagi sebentar.", "It is busy. Try again in a moment."},
	"error.not_ready":  {"Node ini belum siap. Coba lagi sebentar.", "This node is not ready. Try again in a moment."},
	"home.greeting":    {"Halo, %s", "Hello, %s"},
	"offline.heading":  {"Tanpa sambungan: absen disimpan di HP ini", "No connection: check-ins are kept on this phone"},
	"home.in":          {"Absen masuk", "Check in"},
	"home.out":         {"Absen pulang", "Check out"},
	"kind.in":          {"masuk", "in"},
	"kind.out":         {"pulang", "out"},
	"today.heading":    {"Hari ini", "Today"},
	"today.empty":      {"Belum ada absen hari ini.", "No check-ins today yet."},
	"today.more":       {"Hanya yang terbaru yang ditampilkan.", "Only the newest are shown."},
	"today.seen":       {"hadir sejak %s", "present since %s"},
	"today.asof":       {"Data per %s.", "Data as of %s."},
	"today.name":       {"Nama", "Name"},
	"today.type":       {"Jenis", "Type"},
	"today.time":       {"Waktu", "Time"},
	"today.node":       {"Node", "Node"},

	"result.accepted":        {"Tercatat %s", "Recorded %s"},
	"result.accepted.text":   {"Absen %s sudah disahkan dan tidak akan berubah.", "Your check-in (%s) is decided and final."},
	"result.duplicate":       {"Sudah tercatat %s", "Already recorded %s"},
	"result.duplicate.text":  {"Absen %s sebelumnya yang berlaku. Tidak perlu mengulang.", "The earlier check-in (%s) counts. There is no need to repeat it."},
	"result.review":          {"Menunggu pemeriksaan", "Waiting for a person"},
	"result.review.text":     {"Absen %s tersimpan. Seorang petugas akan memutuskan.", "Your check-in (%s) is kept. A person will decide."},
	"result.rejected":        {"Tidak diterima", "Not accepted"},
	"result.rejected.text":   {"Absen %s ditolak.", "The check-in (%s) was refused."},
	"result.queued":          {"Tersimpan, menunggu pengesahan", "Recorded, waiting for confirmation"},
	"result.queued.text":     {"Absen %s tersimpan di node ini dan akan disahkan dengan waktu ini. Tidak perlu mengulang.", "Your check-in (%s) is on this node's disk and will be decided as of now. There is no need to repeat it."},
	"result.unrecorded":      {"Belum tercatat", "Not recorded"},
	"result.unrecorded.text": {"Absen %s belum tercatat karena klaster tidak dapat memutuskan saat ini. Coba lagi.", "The check-in (%s) was not recorded, because the cluster cannot decide right now. Try again."},
	"result.unknown":         {"Belum ada kepastian", "Not certain yet"},
	"result.unknown.text":    {"Absen %s mungkin sudah tercatat. Tekan Coba lagi: tidak akan tercatat dua kali.", "The check-in (%s) may have been recorded. Press Try again: it will not be recorded twice."},
	"result.again":           {"Coba lagi", "Try again"},
	"result.back":            {"Kembali", "Back"},
	"result.replay":          {"Ini jawaban atas absen yang sama sebelumnya.", "This is the answer to the same check-in from before."},
	"result.how":             {"Diterima %s · disahkan pemimpin %s · masa jabatan %d · nomor %d · %s ms", "Received by %s · decided by leader %s · term %d · number %d · %s ms"},
	"result.key":             {"Kode bukti", "Receipt code"},

	"reason.unknown_user":  {"Orang ini tidak dikenal.", "This person is not known."},
	"reason.inactive_user": {"Akun ini tidak aktif.", "This account is not active."},
	"reason.key_reused":    {"Formulir ini sudah pernah dikirim dengan isi lain. Kembali dan mulai lagi.", "This form was sent before with other content. Go back and start again."},
	"reason.too_old":       {"Terlalu lama tertunda.", "It was deferred for too long."},
	"reason.clock_suspect": {"Jam node penerima tidak dapat dipercaya.", "The clock of the receiving node cannot be trusted."},

	"tap.sending":        {"Mengirim…", "Sending…"},
	"tap.sending.text":   {"Sudah aman di HP ini.", "It is safe on this phone."},
	"tap.accepted":       {"Tercatat {0}", "Recorded {0}"},
	"tap.accepted.text":  {"Sudah disahkan dan tidak akan berubah.", "It is decided and final."},
	"tap.duplicate":      {"Sudah tercatat {0}", "Already recorded {0}"},
	"tap.duplicate.text": {"Absen sebelumnya yang berlaku. Tidak perlu mengulang.", "The earlier check-in counts. There is no need to repeat it."},
	"tap.review":         {"Menunggu pemeriksaan", "Waiting for a person"},
	"tap.review.text":    {"Absen tersimpan. Seorang petugas akan memutuskan.", "Your check-in is kept. A person will decide."},
	"tap.rejected":       {"Tidak diterima", "Not accepted"},
	"tap.rejected.text":  {"Absen ini ditolak. Tanyakan kepada guru atau admin.", "This check-in was refused. Ask a teacher or an admin."},
	"tap.recorded":       {"Tersimpan di {0}, menunggu klaster", "Stored on {0}, waiting for the cluster"},
	"tap.recorded.text":  {"Akan disahkan otomatis dengan waktu yang sama. Tidak ada yang hilang.", "It will be decided by itself, with the same time. Nothing is lost."},
	"tap.waiting":        {"Tersimpan di HP, menunggu sinyal", "Stored on this phone, waiting for a connection"},
	"tap.waiting.text":   {"Belum terkirim. Akan dikirim begitu tersambung; jangan hapus data peramban.", "Not sent yet. It is sent as soon as there is a connection; do not clear the browser's data."},
	"tap.refused":        {"Belum bisa dicatat", "Cannot be recorded yet"},
	"tap.refused.text":   {"Server menolak permintaan ini. Coba lagi, atau minta guru.", "The server refused this request. Try again, or ask a teacher."},
	"tap.pending":        {"{0} absen belum disahkan.", "{0} check-ins are not decided yet."},
	"tap.pending.one":    {"1 absen belum disahkan.", "1 check-in is not decided yet."},
	"tap.skew":           {"Jam HP berbeda {0} menit. Waktu resmi memakai jam server.", "This phone's clock differs by {0} minutes. The server's clock is the official one."},
	"step.phone":         {"Di HP", "On this phone"},
	"step.node":          {"Diterima {0}", "Received by {0}"},
	"step.node.open":     {"Diterima node", "Received by a node"},
	"step.decided":       {"Disepakati klaster", "Decided by the cluster"},
	"step.decided.note":  {"pemimpin {0} · masa jabatan {1} · #{2}", "leader {0} · term {1} · #{2}"},
	"step.spread":        {"Tersalin {0}/{1} node", "On {0}/{1} nodes"},
	"step.spread.open":   {"Tersalin ke semua node", "On all nodes"},
	"step.exported":      {"Diekspor: {0}", "Exported: {0}"},
	"place.seeking":      {"Mencari lokasi…", "Looking for your location…"},
	"place.found":        {"Lokasi ± {0}", "Location ± {0}"},
	"place.poor":         {"Lokasi kasar, ± {0}. Absen tetap bisa.", "Poor location, ± {0}. You can check in all the same."},
	"place.denied":       {"Izin lokasi dimatikan. Absen tetap bisa; nyalakan izin lokasi di peramban.", "Location is switched off. You can check in all the same; allow it in the browser."},
	"place.unavailable":  {"Lokasi tidak tersedia. Absen tetap bisa.", "No location available. You can check in all the same."},
	"place.timeout":      {"Lokasi belum ditemukan. Absen tetap bisa.", "No location found yet. You can check in all the same."},
	"place.insecure":     {"Lokasi butuh HTTPS. Absen tetap bisa.", "Location needs HTTPS. You can check in all the same."},

	"view.healthy":         {"Sehat: {0} dari {1} node menjawab", "Healthy: {0} of {1} nodes answer"},
	"view.fragile":         {"Sehat, tetapi rentan: {0} dari {1} node menjawab", "Healthy, but fragile: {0} of {1} nodes answer"},
	"view.electing":        {"Memilih pemimpin… absen ditahan, tidak ditolak", "Electing a leader… check-ins are held, not refused"},
	"view.stopped":         {"Tanpa kuorum: hanya {0} dari {1} node menjawab", "No quorum: only {0} of {1} nodes answer"},
	"view.stopped.text":    {"Absen disimpan di node yang menjawab dan disahkan otomatis dengan waktunya sendiri begitu klaster pulih. Tidak ada yang ditolak.", "Check-ins are kept on the nodes that answer and are decided by themselves, as of their own time, when the cluster is back. Nothing is refused."},
	"view.unreachable":     {"Tidak ada node yang menjawab", "No node answers"},
	"view.leader":          {"Pemimpin (leader) {0} · masa jabatan (term) {1}.", "Leader {0} · term {1}."},
	"view.lose":            {"Boleh kehilangan {0} node lagi.", "{0} more nodes may be lost."},
	"view.lose.one":        {"Boleh kehilangan 1 node lagi.", "1 more node may be lost."},
	"view.role.leader":     {"Pemimpin", "Leader"},
	"view.role.follower":   {"Pengikut", "Follower"},
	"view.role.candidate":  {"Kandidat", "Candidate"},
	"view.role.joining":    {"Bergabung", "Joining"},
	"view.role.stopping":   {"Berhenti", "Stopping"},
	"view.role.down":       {"Tidak menjawab", "Does not answer"},
	"view.term":            {"masa {0}", "term {0}"},
	"view.lag":             {"mengejar {0} kejadian", "{0} events behind"},
	"view.lag.one":         {"mengejar 1 kejadian", "1 event behind"},
	"view.even":            {"selisih 0", "up to date"},
	"view.silent":          {"terakhir {0} lalu", "last seen {0} ago"},
	"view.never":           {"belum pernah menjawab", "has not answered yet"},
	"view.seconds":         {"{0} detik", "{0} s"},
	"view.opinion":         {"pemimpin {0} · masa {1} · #{2}", "leader {0} · term {1} · #{2}"},
	"view.without":         {"{0} tanpa pemimpin", "{0} without a leader"},
	"view.elected":         {"{0} memimpin, masa jabatan {1}; tanpa pemimpin {2}", "{0} leads, term {1}; {2} without a leader"},
	"view.moved":           {"{0} mengambil alih, masa jabatan {1}", "{0} took over, term {1}"},
	"view.gone":            {"{0} berhenti menjawab", "{0} stopped answering"},
	"view.back":            {"{0} menjawab lagi", "{0} answers again"},
	"view.unheard":         {"Perintah tidak terjawab. Coba lagi.", "The command was not answered. Try again."},
	"view.act.kill":        {"{0} dimatikan paksa", "{0} was killed"},
	"view.act.freeze":      {"{0} dibekukan", "{0} was frozen"},
	"view.act.thaw":        {"{0} dicairkan", "{0} was thawed"},
	"view.act.start":       {"{0} dijalankan", "{0} was started"},
	"view.act.stop":        {"{0} dihentikan", "{0} was stopped"},
	"view.proof":           {"Bukti", "Proof"},
	"view.proof.sent":      {"Dikirim", "Sent"},
	"view.proof.accepted":  {"Tercatat", "Recorded"},
	"view.proof.duplicate": {"Ganda", "Duplicate"},
	"view.proof.waiting":   {"Ditahan", "Held"},
	"view.proof.lost":      {"Hilang", "Lost"},
	"view.connections":     {"tersambung", "connected"},
	"view.outbox":          {"antre", "queued"},
	"view.disagree":        {"Node berbeda pendapat", "The nodes disagree"},
	"view.feed":            {"Kejadian", "What happened"},
	"act.kill_leader":      {"Matikan pemimpin", "Kill the leader"},

	"nav.history":       {"Riwayat", "History"},
	"nav.groups":        {"Grup", "Groups"},
	"nav.dashboard":     {"Dasbor", "Dashboard"},
	"history.heading":   {"Riwayat saya", "My history"},
	"history.empty":     {"Belum ada absen.", "No check-ins yet."},
	"list.newest":       {"Terbaru", "Newest"},
	"list.older":        {"Lebih lama", "Older"},
	"groups.heading":    {"Grup hari ini", "Groups today"},
	"groups.empty":      {"Tidak ada grup.", "There are no groups."},
	"group.tally":       {"%d dari %d sudah hadir", "%d of %d are present"},
	"group.missing":     {"belum", "not yet"},
	"group.offline":     {"luring", "offline"},
	"group.out":         {"pulang %s", "left %s"},
	"group.empty":       {"Grup ini belum punya anggota.", "This group has no members yet."},
	"board.heading":     {"Hari ini, langsung", "Today, live"},
	"board.present":     {"Sedang hadir", "Present"},
	"board.arrived":     {"Sudah datang", "Arrived"},
	"board.left":        {"Sudah pulang", "Left"},
	"board.duplicates":  {"Ganda", "Duplicates"},
	"board.reviews":     {"Perlu dilihat", "To review"},
	"board.minutes":     {"Kedatangan per menit", "Arrivals per minute"},
	"board.arrivals":    {"Kedatangan", "Arrivals"},
	"board.peak":        {"Puncak {0}: {1} per menit", "Peak {0}: {1} per minute"},
	"board.quiet":       {"Belum ada kedatangan", "No arrivals yet"},
	"board.pause":       {"Jeda", "Pause"},
	"board.resume":      {"Lanjut ({0} baru)", "Continue ({0} new)"},
	"board.summary":     {"{0} absen dalam 10 detik terakhir", "{0} check-ins in the last 10 seconds"},
	"board.summary.one": {"1 absen dalam 10 detik terakhir", "1 check-in in the last 10 seconds"},
	"board.in":          {"masuk", "in"},
	"board.out":         {"pulang", "out"},

	"cluster.heading":    {"Menurut %s", "According to %s"},
	"cluster.details":    {"Rincian", "Details"},
	"cluster.summary":    {"Dijawab oleh %s · pemimpin (leader) %s · masa jabatan (term) %d · kuorum %d", "Answered by %s · leader %s · term %d · quorum %d"},
	"cluster.none":       {"tidak ada", "none"},
	"cluster.lose":       {"Masih boleh kehilangan %s node.", "%s more nodes may be lost."},
	"cluster.lose.one":   {"Masih boleh kehilangan %s node.", "%s more node may be lost."},
	"cluster.lost":       {"Tanpa kuorum: tidak ada yang dapat disahkan.", "No quorum: nothing can be decided."},
	"cluster.node":       {"Node", "Node"},
	"cluster.state":      {"Keadaan", "State"},
	"cluster.seq":        {"Kejadian", "Events"},
	"cluster.lag":        {"Tertinggal", "Behind"},
	"cluster.version":    {"Versi", "Version"},
	"cluster.started":    {"Mulai", "Started"},
	"cluster.elections":  {"Pergantian pemimpin", "Changes of leader"},
	"cluster.election":   {"Masa jabatan %d: %s, %s, %s ms tanpa pemimpin", "Term %d: %s, %s, %s ms without a leader"},
	"cluster.transfer":   {"Pindahkan kepemimpinan", "Transfer leadership"},
	"cluster.demo":       {"Kendali demo", "Demo controls"},
	"cluster.identity":   {"Identitas klaster", "Cluster id"},
	"state.leader":       {"pemimpin", "leader"},
	"state.follower":     {"pengikut", "follower"},
	"state.candidate":    {"kandidat", "candidate"},
	"state.joining":      {"bergabung", "joining"},
	"state.down":         {"mati", "down"},
	"state.stopping":     {"berhenti", "stopping"},
	"act.morning":        {"Mulai pagi sekolah", "Start a school morning"},
	"act.rest":           {"Hentikan", "Stop"},
	"act.kill":           {"Matikan paksa", "Kill"},
	"act.freeze":         {"Bekukan", "Freeze"},
	"act.thaw":           {"Cairkan", "Thaw"},
	"act.start":          {"Jalankan", "Start"},
	"notice.404":         {"Halaman ini tidak ada.", "There is no such page."},
	"notice.403":         {"Akun ini tidak boleh melakukannya.", "This account may not do that."},
	"notice.429":         {"Terlalu banyak percobaan gagal. Tunggu sebentar.", "Too many failed attempts. Wait a moment."},
	"notice.4xx":         {"Permintaan ini tidak dapat diterima.", "This request cannot be accepted."},
	"notice.5xx":         {"Node ini tidak dapat menjawab sekarang. Coba lagi sebentar.", "This node cannot answer right now. Try again in a moment."},
	"notice.detail":      {"Kode %d %s · permintaan %s", "Code %d %s · request %s"},
	"notice.back":        {"Ke halaman depan", "To the first page"},
	"docs.heading":       {"API hadir %s", "hadir API %s"},
	"docs.machine":       {"Deskripsi OpenAPI 3.1 (JSON)", "OpenAPI 3.1 description (JSON)"},
	"docs.contents":      {"Isi", "Contents"},
	"docs.shapes":        {"Bentuk data", "Shapes"},
	"docs.who":           {"Boleh dipakai", "May use it"},
	"docs.anyone":        {"siapa saja, tanpa masuk", "anybody, without signing in"},
	"visitor.student":    {"siswa", "students"},
	"visitor.teacher":    {"guru", "teachers"},
	"visitor.admin":      {"admin", "admins"},
	"visitor.device":     {"perangkat", "devices"},
	"reach.own":          {"dirinya sendiri", "own"},
	"reach.group":        {"kelompoknya", "own groups"},
	"reach.all":          {"semua", "all"},
	"docs.params":        {"Parameter", "Parameters"},
	"place.path":         {"di alamat", "in the path"},
	"place.query":        {"di kueri", "in the query"},
	"place.header":       {"di header", "in the header"},
	"docs.optional":      {"opsional", "optional"},
	"docs.request":       {"Isi permintaan", "Request body"},
	"docs.answers":       {"Jawaban", "Answers"},
	"docs.headers":       {"Header", "Header fields"},
	"docs.problems":      {"Masalah", "Problems"},
	"docs.example":       {"Contoh", "Example"},
	"footer.language":    {"Bahasa", "Language"},
	"footer.api":         {"Dokumentasi API", "API documentation"},
	"footer.served":      {"Dilayani oleh node %s", "Served by node %s"},
	"result.heading.who": {"Hasil absen", "Result of the check-in"},
}
