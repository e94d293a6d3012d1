// The words of the page, in English (as in the page itself) and Chinese.

const en = {
  welcome: "A photo goes in.\nA painting comes out.",
  welcome_how: "Drop a photo or a video anywhere here, paste one, or choose one. It stays on the machine that shows you this page.",
  skip: "Skip to the controls", language: "Language", theme: "Light or dark", picture: "The picture", split: "Before and after",
  before: "Photo", choose: "Choose a photo", camera: "Take a photo", view: "View", open: "Another photo or video",
  webcam: "Paint my webcam", compare: "Compare with the photo", zoom_out: "Smaller", zoom_fit: "Fit", zoom_in: "Larger",
  history: "History", undo: "Undo", redo: "Redo", controls: "Controls", style: "Style", styles: "Styles", blend: "Blend",
  mask: "Mask", studio: "Studio", blend_how: "Each corner is a style. The nearer the point, the more of it.",
  pad: "Blend; move the point with the arrow keys", corner: "Corner {n}", mask_how: "Brush over what is to stay a photo.",
  mask_keys: "By keyboard: go to the picture with Tab. Arrow keys move the brush, further with Shift; Space brushes, E brushes away; [ and ] change the size.",
  brush_at: "{x}% across, {y}% down; brush {size}%.",
  brush: "Brush", brush_keep: "Keep the photo", brush_paint: "Paint again", brush_size: "Brush", invert: "Invert",
  clear: "Paint all", how: "How it is painted", strength: "Strength", stroke: "Strokes", colors: "Colours",
  colors_style: "Of the style", colors_luma: "Of the photo", colors_match: "Photo's tones", colors_histogram: "Photo's range",
  sharpest: "Sharpest strokes", sharpest_told: "sharpest", format: "Format", download: "Download",
  downloading: "Painting at full size…", save_frame: "Keep this picture", drop: "Let go to paint it",
  studio_none: "Optimisation and training need a part of Impasto that this machine does not have: pip install 'impasto[train]'.",
  optimise: "Paint slowly, after any painting",
  optimise_how: "The pixels themselves are painted, stroke by stroke, for minutes: the finest that there is. You can watch.",
  painting: "Painting", size: "Size", strokes: "Strokes", fine: "Fine", as_painted: "As painted", broad: "Broad",
  effort: "Iterations", begin: "Begin", train: "Learn a new style",
  train_how: "From a painting; afterwards it paints any photo at once.",
  train_photos: "Photos to practise on; this photo unless given", name: "Name", minutes: "Minutes",
  job_optimisation: "Optimisation", job_training: "Training of {name}", waiting: "Waiting, {ahead} ahead", running: "{percent}%, {left} left",
  starting: "Starting…", done: "Done", failed: "Failed", cancelled: "Cancelled", cancel: "Cancel", remove: "Remove",
  show: "Show it", use_style: "Paint with it", save_style: "Save the style file", save_picture: "Save", curve: "Loss over the steps",
  sheet: "How far it is", minute: "{n} min", second: "{n} s", own: "Yours", by: "{title}, {artist}", percent: "{n}%",
  painted: "Painted in {style}.", painting_now: "Painting.", close: "Close", photo_alone: "Your photo, not yet painted", sample: "The sample photo, painted in {style}",
  your_photo: "Your photo, painted in {style}", of_total: "{n} of {total}", blend_of: "a blend of {styles}",
  painting_add: "Your painting…", your_painting: "Your painting", your_painting_n: "Your painting {n}",
  painting_about: "After your painting, at once. The Studio learns it, or paints after it slowly, for a closer likeness.",
  paint_video: "Paint the video", as_filmed: "As filmed", clip_told: "A video of {length}. You see one frame of it.",
  clip_unseen: "Your browser cannot show this video; it can be painted all the same.",
  your_video: "A frame of your video, painted in {style}", job_video: "Video, {name}", sending: "Sending, {percent}%",
  running_video: "Frame {step} of {steps}, {rate} a second, {left} left", running_frames: "Frame {step}, {rate} a second",
  joining: "Putting it together…", save_video: "Save the video", player: "The painted video",
  // of the page that `impasto export` writes
  page_how: "Drop a photo anywhere here, paste one, or choose one. It stays in this browser.", open_photo: "Another photo",
  show_photo: "Show the photo", save_png: "Save as PNG", size_of_photo: "As the photo", fetching: "Fetching the painter, {percent}%",
  preparing: "Making ready…", painted_in: "Painted in {time}.", size_told: "{width} × {height} px, about {time} in this browser",
  size_px: "{width} × {height} px",
  "error.offline": "The server cannot be reached. Is it still running?",
  "error.no_camera": "The camera cannot be used: it is missing, taken, or not allowed.",
  "error.not_image": "That is not a picture.",
  "error.memory": "This browser has not enough memory for a picture of this size. Choose a smaller one.",
  "error.undecoded": "This browser cannot read that picture.",
  "error.not_fetched": "A file is missing in the folder of this page: {message}",
  "error.no_video": "This machine cannot read videos: pip install 'impasto[video]'.",
  "error.busy": "Too many pictures wait to be painted. Try again in a moment.",
};

const zh = {
  welcome: "放入照片，得到画作。",
  welcome_how: "把照片或视频拖到这里、粘贴，或选择一个。它只留在提供本页面的机器上。",
  skip: "跳到控制区", language: "语言", theme: "浅色或深色", picture: "图片", split: "前后对比", before: "照片", choose: "选择照片",
  camera: "拍照", view: "视图", open: "换一张照片或视频", webcam: "实时绘制摄像头", compare: "与照片对比", zoom_out: "缩小", zoom_fit: "适合窗口",
  zoom_in: "放大", history: "历史", undo: "撤销", redo: "重做", controls: "控制", style: "风格", styles: "风格", blend: "混合", mask: "蒙版",
  studio: "画室", blend_how: "每个角是一种风格，点离哪个角越近，哪种风格就越多。", pad: "混合；用方向键移动", corner: "角 {n}",
  mask_how: "涂抹要保留为照片的部分。",
  mask_keys: "键盘操作：用 Tab 键移到图片上。方向键移动画笔，按住 Shift 移得更远；空格键涂抹，E 键擦除；[ 和 ] 改变画笔大小。",
  brush_at: "横向 {x}%，纵向 {y}%；画笔 {size}%。", brush: "画笔", brush_keep: "保留照片", brush_paint: "恢复绘画", brush_size: "画笔大小", invert: "反转",
  clear: "全部绘画", how: "绘画方式", strength: "强度", stroke: "笔触", colors: "色彩", colors_style: "用风格的", colors_luma: "用照片的",
  colors_match: "照片的色调", colors_histogram: "照片的色域", sharpest: "最清晰笔触", sharpest_told: "最清晰", format: "格式", download: "下载",
  downloading: "正在以原尺寸绘制…", save_frame: "保留这一帧", drop: "松开即可绘制",
  studio_none: "优化与训练需要本机尚未安装的部分：pip install 'impasto[train]'。",
  optimise: "按任意画作慢慢绘制", optimise_how: "直接绘制每个像素，需要几分钟，效果最精细。可以全程观看。", painting: "画作", size: "尺寸",
  strokes: "笔触", fine: "细", as_painted: "如原作", broad: "粗", effort: "迭代次数", begin: "开始", train: "学习新风格",
  train_how: "从一幅画学习；之后可以立即绘制任何照片。", train_photos: "练习用照片；不选则用当前照片", name: "名称", minutes: "分钟",
  job_optimisation: "优化", job_training: "训练 {name}", waiting: "等待中，前面有 {ahead} 个", running: "{percent}%，剩余 {left}", starting: "正在启动…",
  done: "完成", failed: "失败", cancelled: "已取消", cancel: "取消", remove: "移除", show: "显示", use_style: "用它绘画",
  save_style: "保存风格文件", save_picture: "保存", curve: "损失曲线", sheet: "当前进度", minute: "{n} 分钟", second: "{n} 秒", own: "我的",
  by: "{title}，{artist}", percent: "{n}%", painted: "已用{style}绘制。", painting_now: "正在绘制。", close: "关闭",
  photo_alone: "您的照片，尚未绘制", sample: "示例照片，{style}", your_photo: "您的照片，{style}", of_total: "{n}/{total}", blend_of: "{styles} 的混合",
  painting_add: "您的画作…", your_painting: "您的画作", your_painting_n: "您的画作 {n}",
  painting_about: "按您的画作立即绘制。画室里可以学习它，或慢慢绘制，会更接近原作。",
  paint_video: "绘制视频", as_filmed: "原尺寸", clip_told: "视频，{length}。这里显示其中一帧。",
  clip_unseen: "浏览器无法显示这个视频，但仍可绘制。", your_video: "您视频中的一帧，{style}", job_video: "视频，{name}",
  sending: "正在发送，{percent}%", running_video: "第 {step}/{steps} 帧，每秒 {rate} 帧，剩余 {left}",
  running_frames: "第 {step} 帧，每秒 {rate} 帧", joining: "正在合成…", save_video: "保存视频", player: "绘制好的视频",
  page_how: "把照片拖到这里、粘贴，或选择一张。它只留在这个浏览器里。", open_photo: "换一张照片", show_photo: "显示照片", save_png: "保存为 PNG",
  size_of_photo: "与照片相同", fetching: "正在获取绘制程序，{percent}%", preparing: "正在准备…", painted_in: "绘制用时 {time}。",
  size_told: "{width} × {height} 像素，在此浏览器中约需 {time}", size_px: "{width} × {height} 像素",
  "error.memory": "浏览器的内存不足以绘制这么大的图片，请选择小一些的尺寸。", "error.undecoded": "浏览器无法读取这张图片。",
  "error.not_fetched": "页面所在的文件夹里缺少文件：{message}",
  "error.missing_extra": "这台机器缺少所需的部分：{message}", "error.no_video": "这台机器无法读取视频：pip install 'impasto[video]'。",
  "error.missing_engine": "这台机器没有按画作绘制的引擎。",
  "error.offline": "无法连接服务器。", "error.busy": "正在排队的图片太多，请稍后再试。", "error.too_large": "文件太大：{message}",
  "error.unreadable": "无法读取这张图片。", "error.crashed": "无法处理这张图片。", "error.timeout": "用时过长，请换小一些的图片。",
  "error.full": "没有空间了，请稍后再试。", "error.no_camera": "无法使用摄像头。", "error.unknown_style": "找不到这种风格，可能已过期。",
  "error.unknown_job": "找不到这项工作，可能已过期。", "error.no_token": "需要口令。", "error.not_image": "这不是图片。",
  "style.candy": "六月树", "style.mosaic": "彩绘玻璃", "style.udnie": "乌德尼", "style.rain_princess": "雨中公主", "style.sketch": "素描",
  "style.starry_night": "星夜", "style.great_wave": "神奈川冲浪里", "style.the_scream": "呐喊", "style.composition_vii": "构图七号",
  "style.shipwreck": "海难", "style.la_muse": "缪斯", "style.woman_with_hat": "戴帽子的女人", "style.metzinger": "梅青格尔",
  "style.wheat_field": "麦田", "style.edtaonisl": "埃德塔翁尼斯", "style.ink_bamboo": "墨竹",
};

const words = { en, zh };
export let language = "en";

export function setLanguage(name) {
  language = name in words ? name : "en";
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", say(element.dataset.label));
    if (element.tagName === "BUTTON") element.title = say(element.dataset.label);
  }
}

export function say(key, values = {}) {
  const text = words[language][key] ?? en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// What went wrong, in words: our own where there are some, else the server's.
export function sayError(error) {
  const key = `error.${error.code}`;
  if (words[language][key]) return say(key, { message: error.message });
  const message = error.message || String(error);
  return message.charAt(0).toUpperCase() + message.slice(1) + (/[.。!]$/.test(message) ? "" : ".");
}

export function styleName(style) {
  return words[language][`style.${style.name}`] ?? style.title;
}

export function duration(seconds) {
  return seconds < 90 ? say("second", { n: Math.max(0, Math.round(seconds)) }) : say("minute", { n: Math.round(seconds / 60) });
}
