# What the tests run: URL NUM_FRAMES PERIOD_MS ON_LATE PATIENCE_S RESUME_S RESET_AT after the script; a line for all that happens.
extends SceneTree

var session
var arguments
var number = 0
var next_ms = 0


func _init():
	var all = Array(OS.get_cmdline_args())
	arguments = all.slice(all.find("--url") + 1, all.size())
	session = load(arguments[7]).new(arguments[0], {"seed": 1, "on_late": arguments[3], "patience_s": float(arguments[4]), "resume_s": float(arguments[5])})
	session.connect("status", self, "_on_status")
	session.connect("action", self, "_on_action")
	session.open()


func _idle(_delta):
	if session == null:
		return true
	hold()
	if session.is_closed or session.is_stopped or number >= int(arguments[1]):
		session.close()
		hold()
		print("counts %d %d %d %d %d %d" % session.counts.values())
		session.free()
		session = null
		quit()
		return true
	if not session.model.empty() and OS.get_ticks_msec() >= next_ms:
		next_ms = OS.get_ticks_msec() + int(arguments[2])
		if number == int(arguments[6]):
			session.reset(2)
		var shape = session.model.observation_space.shape
		var image = Image.new()
		image.create(shape[1] * 4, shape[0] * 4, false, Image.FORMAT_RGBA8)
		image.fill(Color8(number / 32 % 31 * 8, number % 32 * 8, 100))
		session.send_image(image)
		number += 1
	return false


func hold():
	var state = session.due()
	if state != null:
		print("hold%s %d %d" % [" " + PoolStringArray(state.keys).join(" ") if state.keys else "", state.motion.x, state.motion.y])


func _on_status(kind, words):
	print("status %s: %s" % [kind, words])


func _on_action(answer):
	var state = answer.states[0]
	var pad = state.gamepad
	if pad == null:
		pad = {"buttons": 0, "left_stick": Vector2.ZERO, "right_stick": Vector2.ZERO, "triggers": [0, 0]}
	var numbers = [answer.seq, state.motion.x, state.motion.y, state.wheel.x, int(answer.is_late), state.wheel.y, state.buttons]
	numbers += [pad.buttons, pad.left_stick.x, pad.left_stick.y, pad.right_stick.x, pad.right_stick.y]
	var words = PoolStringArray(["action"])
	for value in numbers + pad.triggers + state.keys:
		words.append(str(value))
	for command in state.commands:
		words.append("=%s" % command)
	print(words.join(" "))
	if answer.seq % 5 == 0:
		session.execute({"keys": ["KeyE"]}, answer.seq)  # a person held that
