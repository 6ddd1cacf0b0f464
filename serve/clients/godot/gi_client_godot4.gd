# gi_client_godot4.gd: frames in, actions out, for Godot 4; docs/protocol.md is what it speaks.
#
#     var session = preload("res://gi_client_godot4.gd").new("http://127.0.0.1:8000", {"seed": 1})
#     func _ready(): add_child(session); session.open()
#     func _process(_delta):
#         session.send_image(get_viewport().get_texture().get_image())     # neither waits for the network
#         var state = session.due()
#         if state != null: session.press(state)                          # into Godot's own input: your InputMap sees it
#
# While no action is fresh due() gives what `on_late` says; while the connection is down, nothing is held.
extends Node

signal status(kind, words)  # kind: open down resumed lost stopped closed error; words for a player
signal action(answer)  # seq, age_ms, server_ms, num_dropped, is_late, states

const OTHER_VERSION = "the server speaks another version of the protocol: update the older side"
const NEUTRAL = {"keys": [], "buttons": 0, "motion": Vector2.ZERO, "wheel": Vector2.ZERO, "gamepad": null, "commands": []}
const SILENCE_MS = 10000
const KEYS = (
	"A B C D E F G H I J K L M N O P Q R S T U V W X Y Z 0 1 2 3 4 5 6 7 8 9 F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 " +
	"ArrowUp ArrowDown ArrowLeft ArrowRight Space Enter Tab Escape Backspace CapsLock ShiftLeft ShiftRight " +
	"ControlLeft ControlRight AltLeft AltRight MetaLeft MetaRight Backquote Minus Equal BracketLeft BracketRight " +
	"Backslash Semicolon Quote Comma Period Slash IntlBackslash IntlRo IntlYen ContextMenu Insert Delete Home End " +
	"PageUp PageDown PrintScreen ScrollLock Pause NumLock NumpadDivide NumpadMultiply NumpadSubtract NumpadAdd " +
	"NumpadEnter NumpadDecimal Numpad0 Numpad1 Numpad2 Numpad3 Numpad4 Numpad5 Numpad6 Numpad7 Numpad8 Numpad9"
)
const KEYCODES = {
	"ArrowUp": KEY_UP, "ArrowDown": KEY_DOWN, "ArrowLeft": KEY_LEFT, "ArrowRight": KEY_RIGHT, "Space": KEY_SPACE,
	"Enter": KEY_ENTER, "Tab": KEY_TAB, "Escape": KEY_ESCAPE, "Backspace": KEY_BACKSPACE, "ShiftLeft": KEY_SHIFT,
	"ShiftRight": KEY_SHIFT, "ControlLeft": KEY_CTRL, "ControlRight": KEY_CTRL, "AltLeft": KEY_ALT,
	"AltRight": KEY_ALT, "Backquote": KEY_QUOTELEFT, "Minus": KEY_MINUS, "Equal": KEY_EQUAL,
	"BracketLeft": KEY_BRACKETLEFT, "BracketRight": KEY_BRACKETRIGHT, "Backslash": KEY_BACKSLASH,
	"Semicolon": KEY_SEMICOLON, "Quote": KEY_APOSTROPHE, "Comma": KEY_COMMA, "Period": KEY_PERIOD,
	"Slash": KEY_SLASH, "Insert": KEY_INSERT, "Delete": KEY_DELETE, "Home": KEY_HOME, "End": KEY_END,
	"PageUp": KEY_PAGEUP, "PageDown": KEY_PAGEDOWN,
}
const MOUSE = [MOUSE_BUTTON_LEFT, MOUSE_BUTTON_RIGHT, MOUSE_BUTTON_MIDDLE, MOUSE_BUTTON_XBUTTON1, MOUSE_BUTTON_XBUTTON2]

var counts = {"sent": 0, "answered": 0, "dropped": 0, "late": 0, "lost": 0, "resumed": 0}
var model = {}  # as the server describes it: fps, observation_space, ...
var is_closed = false
var is_stopped = false
var is_down = true
var _url
var _options = {"key": "", "on_late": "neutral", "patience_s": 0.5, "resume_s": 30.0}
var _wishes = {}
var _names
var _socket
var _was_established = false
var _opening
var _is_open = false  # the stream, on this connection
var _seq = -1
var _first_seq = 0
var _newest_seq = -1
var _frame
var _held
var _since_ms = 0
var _heard_ms = 0
var _shown = ""
var _pressed = NEUTRAL
var _goodbye = ""
var _id = ""
var _token = ""
var _kept_s = 0.0
var _resetting
var _give_up_ms = 0
var _retry_ms = 0
var _delay_ms = 50


# options: key, on_late ("neutral" | "hold" | "stop"), patience_s, resume_s; all else goes into session.update.
func _init(url, options = {}):
	_url = url.replace("http", "ws").trim_suffix("/") + "/v1/realtime"
	_names = Array(KEYS.split(" "))
	for name in options:
		if _options.has(name):
			_options[name] = options[name]
		else:
			_wishes[name] = options[name]


# Begin to connect; `status` says "open", or "lost" and why.
func open():
	var wanted = {"type": "session.update", "resume": _options.resume_s > 0}
	for name in _wishes:
		wanted[name] = _wishes[name]
	_give_up_ms = Time.get_ticks_msec() + SILENCE_MS
	_connect(wanted)


# The picture as it is now; the server brings it to the model's size. Its seq.
func send_image(image, is_flipped = false):
	if image == null or image.is_empty():
		return _seq  # nothing is drawn yet, or there is no screen
	if is_flipped:
		image.flip_y()
	image.convert(Image.FORMAT_RGB8)
	while not model.is_empty() and image.get_width() >= 4 * model.observation_space.shape[1]:
		image.shrink_x2()  # the mean of four: cheap here, and less to send
	return send_frame(image.get_data(), image.get_width(), image.get_height())


# RGB bytes, row by row from the top left.
func send_frame(rgb, width, height):
	_seq += 1
	_frame = PackedByteArray([1, 1, 1, 0])
	_frame.resize(28)
	_frame.encode_s64(8, _seq)
	_frame.encode_s64(16, Time.get_ticks_usec() * 1000)
	_frame.encode_u16(24, width)
	_frame.encode_u16(26, height)
	_frame.append_array(rgb)
	if not is_down:
		_put(_frame)
	return _seq


# What to hold from now on, once for each tick of an answer, and whenever the fail-safe says so; null: as before.
func due():
	_poll()
	var wanted = _wanted()
	if wanted[0] == _shown:
		return null
	_shown = wanted[0]
	return wanted[1]


# Tell what was really held in the tick of frame `seq`, before the next frame.
func execute(held, seq):
	_say({"type": "action.executed", "seq": seq, "action": held})


# Forget all frames and start anew.
func reset(number):
	_held = null
	_frame = null
	_first_seq = _seq + 1
	_resetting = {"type": "session.reset", "seed": number}
	_say(_resetting)


# End the session: its place is free at once.
func close():
	if not is_closed:
		_say({"type": "session.close"})
		_end("closed", "the play is over")


func _exit_tree():
	close()
	press(NEUTRAL)


# Into Godot's input: what the game's actions are bound to is pressed and released, the mouse moves.
func press(state):
	for key in _pressed.keys + state.keys:
		var is_held = state.keys.has(key)
		if is_held != _pressed.keys.has(key):
			var event = InputEventKey.new()
			event.keycode = KEYCODES.get(key, OS.find_keycode_from_string(key.trim_prefix("Key").trim_prefix("Digit")))
			event.physical_keycode = event.keycode
			event.pressed = is_held
			Input.parse_input_event(event)
	for bit in range(5):
		if (state.buttons ^ _pressed.buttons) >> bit & 1:
			_click(MOUSE[bit], state.buttons >> bit & 1)
	if state.motion != Vector2.ZERO:
		var event = InputEventMouseMotion.new()
		event.relative = state.motion
		Input.parse_input_event(event)
	for _notch in range(int(abs(state.wheel.y))):
		_click(MOUSE_BUTTON_WHEEL_DOWN if state.wheel.y > 0 else MOUSE_BUTTON_WHEEL_UP, true)
	_pressed = state


func _click(button, is_pressed):
	var event = InputEventMouseButton.new()
	event.button_index = button
	event.pressed = bool(is_pressed)
	Input.parse_input_event(event)


func _wanted():
	var now = Time.get_ticks_msec()
	if is_down or is_stopped or is_closed:
		return ["released", NEUTRAL]
	if now - _since_ms > _options.patience_s * 1000:
		if _options.on_late == "stop":
			is_stopped = true
			status.emit("stopped", "no action came for too long: every key is up")
		if _options.on_late != "hold" or _held == null:
			return ["released", NEUTRAL]
		var still = _held.states[-1].duplicate()
		still.motion = Vector2.ZERO
		still.wheel = Vector2.ZERO
		return ["late %d" % _held.seq, still]
	if _held == null:
		return ["released", NEUTRAL]
	var tick = int((Time.get_ticks_usec() - _held.capture_us) * model.fps / 1e6)
	tick = 0 if _held.states.size() == 1 else int(clamp(tick, 0, _held.states.size() - 1))
	return ["%d %d" % [_held.seq, tick], _held.states[tick]]


# ---------------------------------------------------------------- messages


func _put(bytes):
	if _socket.get_current_outbound_buffered_amount() < bytes.size() and _socket.send(bytes) == OK:  # else: rarer, not older
		counts.sent += 1


func _say(event):
	if _is_open or event.get("type") in ["session.update", "session.resume"]:
		_socket.send_text(JSON.stringify(event))


func _received(bytes, is_text):
	_heard_ms = Time.get_ticks_msec()
	if not is_text:
		_answer(bytes)
		return
	var event = JSON.parse_string(bytes.get_string_from_utf8())
	match event.type:
		"session.created", "session.resumed":
			_opened(event)
		"session.updated":
			_resetting = null
		"session.closed":
			_goodbye = "the server ended the session (%s)" % event.reason
		"session.going_away":
			status.emit("going away", "the server ends in %s s" % event.grace_s)
		"error":
			var words = "the server answered: %s. %s" % [event.error.title, event.error.get("detail", "")]
			if not _is_open:
				_end("lost", words)
			elif not event.error.type.ends_with("feedback-late"):
				status.emit("error", words)


func _answer(bytes):
	if bytes.size() < 36 or bytes[0] != 2 or bytes[1] != 1:
		_end("lost", OTHER_VERSION)
		return
	if bytes[34] == 0 or bytes.size() < 36 + 48 * bytes[34]:
		_end("lost", "the server sent a cut action")
		return
	var answer = {
		"seq": bytes.decode_s64(8), "capture_us": bytes.decode_s64(16) / 1000,
		"server_ms": bytes.decode_u32(24) / 1000.0, "num_dropped": bytes.decode_u32(28),
		"is_late": bytes[3] & 1 == 1, "states": [],
	}
	answer.age_ms = (Time.get_ticks_usec() - answer.capture_us) / 1000.0
	for tick in range(bytes[34]):
		answer.states.append(_read_state(bytes, 36 + 48 * tick))
		answer.states[tick].commands = _read_commands(bytes, tick)
	if answer.seq >= _first_seq:  # not of before the reset
		counts.dropped += answer.seq - int(max(_newest_seq, _first_seq - 1)) - 1  # whoever dropped them
		counts.answered += 1
		counts.late += int(answer.is_late)
		_held = answer
		_since_ms = _heard_ms
		action.emit(answer)
	_newest_seq = int(max(_newest_seq, answer.seq))


func _read_state(bytes, at):
	var state = {"buttons": bytes[at + 1], "keys": [], "gamepad": null}
	for index in range(bytes[at + 2]):
		var id = bytes[at + 4 + index]
		state.keys.append(("Key" if id <= 26 else "Digit" if id <= 36 else "") + _names[id - 1])
	state.motion = Vector2(bytes.decode_s16(at + 12), bytes.decode_s16(at + 14))
	state.wheel = Vector2(bytes.decode_s16(at + 16), bytes.decode_s16(at + 18))
	if bytes[at] & 1:
		var axes = range(6).map(func(index): return bytes.decode_float(at + 24 + 4 * index))
		state.gamepad = {
			"buttons": bytes.decode_u32(at + 20), "left_stick": Vector2(axes[0], axes[1]),
			"right_stick": Vector2(axes[2], axes[3]), "triggers": axes.slice(4),
		}
	return state


func _read_commands(bytes, tick):  # of a body's actuators that no control drives, in its order and units
	var at = 36 + bytes[34] * (48 + 2 * bytes.decode_u16(32) + 4 * bytes[35])
	if bytes[3] & 4 == 0 or bytes.size() <= at or bytes.size() < at + 1 + 4 * bytes[34] * bytes[at]:
		return []
	return range(bytes[at]).map(func(index): return bytes.decode_float(at + 1 + 4 * (tick * bytes[at] + index)))


# ---------------------------------------------------------------- the connection


func _connect(opening):
	_opening = opening
	_is_open = false
	_retry_ms = 0
	_heard_ms = Time.get_ticks_msec()
	_was_established = false
	_socket = WebSocketPeer.new()
	_socket.supported_protocols = PackedStringArray(["gi.v1.bin"])
	_socket.handshake_headers = PackedStringArray(["Authorization: Bearer " + _options.key] if _options.key else [])
	_socket.inbound_buffer_size = 1 << 20
	_socket.outbound_buffer_size = 1 << 24
	if _socket.connect_to_url(_url) != OK:
		_lost()


func _opened(event):
	model = event.model
	_id = event.session.id
	if event.get("resume") != null:
		_token = event.resume.token
		_kept_s = min(event.resume.timeout_s, _options.resume_s)
	_since_ms = Time.get_ticks_msec()
	_is_open = true
	is_down = false
	_delay_ms = 50
	if event.type == "session.created":
		status.emit("open", model.name + " plays")
		return
	counts.resumed += 1
	status.emit("resumed", "connected again")
	if _resetting != null:
		_say(_resetting)
	elif _frame != null and _seq > event.last_seq:
		_put(_frame)


func _poll():
	var now = Time.get_ticks_msec()
	if _socket != null:
		_socket.poll()
		if _socket.get_ready_state() == WebSocketPeer.STATE_OPEN and not _was_established:
			_was_established = true
			if _socket.get_selected_protocol() == "gi.v1.bin":
				_say(_opening)
			else:
				_end("lost", OTHER_VERSION)
		while _socket != null and _socket.get_available_packet_count() > 0:
			var bytes = _socket.get_packet()
			_received(bytes, _socket.was_string_packet())
	if _socket != null and _socket.get_ready_state() == WebSocketPeer.STATE_CLOSED:
		_lost()
	var is_waited_for = not _is_open or _seq > _newest_seq
	if _socket != null and is_waited_for and now - _heard_ms > SILENCE_MS:
		_lost()
	if _retry_ms > 0 and now >= _retry_ms:
		_connect({"type": "session.resume", "session_id": _id, "token": _token, "answered_seq": _newest_seq})


func _lost():
	if is_closed or _socket == null:
		return
	var was_open = _is_open
	var now = Time.get_ticks_msec()
	_socket = null
	_is_open = false
	is_down = true
	_held = null
	var words = "cannot reach the server %s: is it running, and does it speak this version? (gi serve CHECKPOINT)" % _url
	if was_open:
		counts.lost += 1
		_give_up_ms = now + int(_kept_s * 1000)
		words = _goodbye if _goodbye else "the connection to the server is lost"
	if _goodbye or not _token or now >= _give_up_ms:
		_end("lost", words + ("; the session is gone: start a new one" if _token else ""))
		return
	if was_open:
		status.emit("down", words + ": every key is up; trying again")
	_retry_ms = now + _delay_ms
	_delay_ms = int(min(2000, 2 * _delay_ms))


func _end(kind, words):
	if is_closed:
		return
	is_closed = true
	is_down = true
	_is_open = false
	_held = null
	if _socket != null:
		_socket.close(1000)
		_socket.poll()
		_socket = null
	status.emit(kind, words)
