mod bars;
mod domains;
mod evidence;
mod page;
mod parts;

pub(super) use page::render;
